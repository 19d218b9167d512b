"""What people write and what APIs answer, as pydantic models. No I/O but reading the files a person names."""
