"""An open system on a chip with the device in it: soft CPU, interconnect and memory of LiteX.

`system` is the SoC and runs where LiteX is; `machine` builds it with Verilator and runs programs on
it; `firmware` compiles them. Nothing here knows what a program computes.
"""
