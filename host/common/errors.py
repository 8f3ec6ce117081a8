"""The errors that `pimloop` shows to its user as one message, never as a traceback."""


class PimloopError(Exception):
    """Something the user can mend; the message says what, where and what to do next."""
