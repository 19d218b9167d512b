"""The wire formats of Talos and COSI as Windlass needs them: our own .proto files and what is generated from them."""
