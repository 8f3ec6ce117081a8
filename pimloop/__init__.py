"""Hardware-in-the-loop co-simulation of a DRAM processing-in-memory device."""

#: The version of this tree; `pyproject.toml` and `pimloop --version` take it from here.
__version__ = "0.1.0"

__all__ = ["__version__"]
