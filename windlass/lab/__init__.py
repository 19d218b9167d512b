"""A simulated site in a process: real wire protocols over one World. Production never imports it."""
