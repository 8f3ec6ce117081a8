"""What a rule of the decomposition is, and the table that rules enter themselves into.

A rule belongs to operator types; it gets one operator (`Whole`) and a `Writer`, adds primitives and
returns the tensors that are the operator's results. `KeptWhole` says why it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pimloop.host.models.decompose.writer import Writer
from pimloop.host.models.graph import Array, Node, TensorInfo
from pimloop.host.models.stored import CONTRIB as CONTRIB


class KeptWhole(Exception):
    """An operator that stays as it is; the text says why, as a report shows it."""


@dataclass(frozen=True)
class Reader:
    """Who reads a result: an operator, by type and the element type a Cast makes; or an output."""

    op: str  # "" for an output of the model
    cast_to: int | None = None  # ONNX element type, of a Cast


@dataclass(frozen=True)
class Whole:
    """An operator that may be decomposed, and what is known of its surroundings.

    It notes which inputs and attributes a rule asks for: newer versions of an operator have more,
    and what a rule does not know it must not ignore (`unknown`).
    """

    node: Node
    infos: Mapping[str, TensorInfo]  # of all tensors so far
    constants: Mapping[str, Array]
    results: Sequence[TensorInfo]  # for each output of the node
    readers: Mapping[str, Sequence[Reader]]  # of the tensors in the file
    im2col: bool  # also convolutions that are a product only after a copy of their input
    asked_inputs: set[int] = field(default_factory=set)
    asked_attributes: set[str] = field(default_factory=set)

    def input(self, index: int) -> str | None:
        """Return the name of an input, None where it is left out."""
        self.asked_inputs.add(index)
        names = self.node.inputs
        return names[index] if index < len(names) and names[index] else None

    def required(self, index: int) -> str:
        """Return the name of an input that the operator cannot do without."""
        name = self.input(index)
        if name is None:
            raise KeptWhole(f"its input {index} is missing")
        return name

    def info(self, index: int) -> TensorInfo:
        """Return shape and type of an input that is there."""
        return self.infos[self.required(index)]

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an input that is there."""
        return self.info(index).shape

    def constant(self, index: int) -> Array | None:
        """Return the value of an input, None where it is left out or not constant."""
        name = self.input(index)
        return None if name is None else self.constants.get(name)

    def wants(self, index: int) -> bool:
        """Return whether an output is there."""
        return index < len(self.node.outputs) and bool(self.node.outputs[index])

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as it is."""
        self.asked_attributes.add(name)
        return self.node.attributes.get(name, default)

    def ignore(self, *attributes: str, inputs: Sequence[int] = ()) -> None:
        """Note attributes and inputs that change nothing in the form that a rule covers."""
        self.asked_attributes.update(attributes)
        self.asked_inputs.update(inputs)

    def unknown(self) -> list[str]:
        """Return the inputs and attributes that the operator has and nobody asked for."""
        inputs = [f"input {i}" for i, n in enumerate(self.node.inputs) if n]
        asked = {f"input {i}" for i in self.asked_inputs}
        return [
            *(name for name in inputs if name not in asked),
            *(name for name in self.node.attributes if name not in self.asked_attributes),
        ]

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an attribute; KeptWhole where it has neither value nor default."""
        value = self.attribute(name, default)
        if value is None:
            raise KeptWhole(f"its attribute {name} is missing")
        return int(value)

    def number(self, name: str, default: float) -> float:
        """Return an attribute."""
        return float(self.attribute(name, default))

    def text(self, name: str, default: str = "") -> str:
        """Return an attribute."""
        value = self.attribute(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)

    def check(self, condition: bool, reason: str) -> None:
        """Raise KeptWhole with `reason` unless `condition` holds."""
        if not condition:
            raise KeptWhole(reason)

    def check_float(self, index: int = 0) -> None:
        """Raise KeptWhole unless an input is of float32 or float16."""
        kind = self.info(index).dtype
        self.check(kind in (np.float32, np.float16), f"its operands are {kind}")


#: Adds primitives and returns a tensor for each output of the operator ("" where it has none); None
#: where the operator is a primitive itself.
Rule = Callable[[Whole, Writer], Sequence[str] | None]

#: The rules, by domain and operator type.
RULES: dict[tuple[str, str], Rule] = {}


def decomposes(domain: str, *ops: str) -> Callable[[Rule], Rule]:
    """Enter a rule for operator types of a domain."""

    def enter(rule: Rule) -> Rule:
        for op in ops:
            RULES[domain, op] = rule
        return rule

    return enter
