"""The PIM device in SystemVerilog and, generated from the same source, its layouts in Python."""
