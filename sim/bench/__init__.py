"""Benches of single modules: cocotb in a process of its own, or a module inside this process."""
