"""What runs keep for later runs of the same user: the folder, and the cache of simulated lists."""
