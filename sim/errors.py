"""Errors of the simulator that say what failed, where and what to do next."""


class SimError(Exception):
    """The simulator could not be found, built or started; the message says what to do next."""
