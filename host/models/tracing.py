"""Shapes that depend on the data, from the inputs that a user gives.

Where no shape can be said before a model runs, it is that of the given inputs: the operators in
front of the question are run once, each by itself. Execution refuses inputs that would give
another one, because every buffer has the shape that was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pimloop.host.models.graph import Array, Node, TensorInfo
from pimloop.host.models.inference import NO_OUTPUT, Inference


class Tracer:
    """Values of tensors on the given inputs.

    Parameters
    ----------
    inference
        Runs single operators.
    given
        Values of inputs, by name.
    """

    def __init__(self, inference: Inference, given: Mapping[str, Array]) -> None:
        self._inference = inference
        self._values: dict[str, Array] = dict(given)

    def known(self, node: Node, constants: Mapping[str, Array]) -> dict[str, Array]:
        """Return the inputs of `node` that are constant or given."""
        return {
            name: value
            for name in node.inputs
            if (value := constants.get(name, self._values.get(name))) is not None
        }

    def infer(
        self, node: Node, before: Sequence[Node], constants: Mapping[str, Array], where: str
    ) -> list[TensorInfo] | None:
        """Return what the outputs of `node` are on the given inputs; None where one is not given.

        Parameters
        ----------
        node
            The operator.
        before
            The operators in front of it, in order.
        constants
            Of the model.
        where
            The operator, for messages.

        Raises
        ------
        PimloopError
            When ONNX Runtime refuses one of the operators on these values.
        """
        for maker in self._makers(node, before, constants):
            if not self._run(maker, constants, where):
                return None
        if not self._run(node, constants, where):
            return None
        return [
            TensorInfo(self._values[name].shape, self._values[name].dtype) if name else NO_OUTPUT
            for name in node.outputs
        ]

    def _makers(
        self, node: Node, before: Sequence[Node], constants: Mapping[str, Array]
    ) -> list[Node]:
        """Return the operators whose results `node` needs and that have not run yet, in order."""
        needed = set(node.inputs)
        makers = []
        for maker in reversed(before):
            if any(n in needed and n not in self._values for n in maker.outputs if n):
                needed.update(n for n in maker.inputs if n not in constants)
                makers.append(maker)
        return makers[::-1]

    def _run(self, node: Node, constants: Mapping[str, Array], where: str) -> bool:
        read = self.known(node, constants)
        if len(read) < len({name for name in node.inputs if name}):
            return False
        made = self._inference.evaluate(node, read, where)
        self._values.update(zip(node.outputs, made, strict=True))
        return True
