"""What a platform lets its PIM device do: its `[capabilities]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pimloop.host.operators.registry import matchers

#: Element types that the driver converts to bfloat16 and back.
TYPES = frozenset({"float32", "float16"})


@dataclass(frozen=True)
class Capabilities:
    """What a platform lets its PIM device do."""

    operators: frozenset[str] = field(default_factory=lambda: frozenset(matchers()))
    #: Products whose operands are both computed by the model (attention). The paper's board does
    #: not run them.
    activation_matmul: bool = True
    #: Most axes of an element-wise result; the paper's board takes three.
    elementwise_max_rank: int = 8
    #: "any": all that numpy's matmul and broadcasting take. "paper": a matrix by a constant matrix,
    #: batches that are equal; (p,r) with (p,r), (r), (p,1) and one element.
    operands: Literal["any", "paper"] = "any"
    #: Element types of operands. float16 becomes bfloat16 on the way to the device, and its results
    #: float16 on the way back.
    types: frozenset[str] = TYPES
