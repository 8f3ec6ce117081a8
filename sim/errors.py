"""Errors of the simulator that say what failed, where and what to do next."""

from pimloop.errors import PimloopError


class SimError(PimloopError):
    """The simulator could not be found, built or started; the message says what to do next."""


class DeviceError(SimError):
    """A device stopped answering or refused an access; the message ends with its last log lines."""


class DeviceTimeoutError(DeviceError):
    """A device did not raise its interrupt, or did not answer, within the time given."""
