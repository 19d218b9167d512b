"""One remote API a module; translates its errors; nothing else."""
