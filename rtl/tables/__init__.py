"""What software knows of the hardware: its interface, DRAM timings, conditions of parameters."""
