"""Errors of the partitioner that name the culprit and say what to do next."""

from pimloop.errors import PimloopError


class PartitionerError(PimloopError, ValueError):
    """A graph, cost or plan that cannot be worked with; the message names the culprit."""
