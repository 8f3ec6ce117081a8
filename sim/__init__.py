"""Verilator builds, the cocotb device server and in-process unit harness of the PIM device."""
