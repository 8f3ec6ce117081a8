"""The device seam: the `Device` protocol and the backends that are not a simulator."""
