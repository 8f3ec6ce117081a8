"""A simulated device in a process of its own: the host's side, the server inside, configuration."""
