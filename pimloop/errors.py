"""The base class of every error that this package raises on purpose.

It imports nothing, so that partitioner, simulator and host have it without knowing each other.
"""


class PimloopError(Exception):
    """Something the user can mend; the message says what, where and what to do next."""
