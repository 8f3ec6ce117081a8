"""The host's name for the base class of all errors."""

from pimloop.errors import PimloopError

__all__ = ["PimloopError"]
