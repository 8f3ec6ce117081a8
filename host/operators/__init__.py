"""What the PIM device computes: one file for each of its operations.

A file matches operators of a model, names their operands and constants, hands them to the driver,
and knows the result's bits and their error. `registry` finds the files; nothing else names one.
docs/add-a-pim-operation.md adds one.
"""

from pimloop.host.operators.base import Operation
from pimloop.host.operators.capabilities import Capabilities
from pimloop.host.operators.matching import (
    kept_on_cpu,
    overflowing_constant,
    pim_capable,
    pim_operation,
    refusal,
)

__all__ = [
    "Capabilities",
    "Operation",
    "kept_on_cpu",
    "overflowing_constant",
    "pim_capable",
    "pim_operation",
    "refusal",
]
