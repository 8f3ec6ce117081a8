"""The SoC in LiteX. Only `python -m pimloop.sim.soc.system` imports LiteX, which is optional."""
