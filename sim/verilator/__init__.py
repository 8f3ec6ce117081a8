"""Cached builds with Verilator: tools, recipe, public ports, the main program in C++."""
