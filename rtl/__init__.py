"""The PIM device in SystemVerilog; Python is in `tables` (for the rest) and `tools`."""
