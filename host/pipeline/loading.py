"""How the models of a sweep are loaded: seed, batch and weights, and what a point binds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TypeVar

from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.checkpoint import is_configuration
from pimloop.host.models.decompose import Choice
from pimloop.host.models.graph import Array
from pimloop.host.models.idle import has_own_weights
from pimloop.host.models.inputs import read_arrays
from pimloop.host.models.loader import LoadOptions

Shape = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Loading:
    """How the model of a point is loaded, apart from what the point binds."""

    seed: int = 0  # of random weights and inputs
    batch: int | None = None  # sequences at once; None: 1
    decompose: Choice = field(default_factory=Choice)  # which fused operators of an .onnx file
    quantize: str | None = None  # integer weights of products, "w8" or "w4"; None: as stored

    def arguments(self) -> tuple[str, ...]:
        """Return the arguments of `pimloop sim` that say the same.

        >>> Loading(batch=2, decompose=Choice(keep_fused=True), quantize="w8").arguments()
        ('--seed', '0', '--batch', '2', '--quantize', 'w8', '--keep-fused')
        """
        batch = () if self.batch is None else ("--batch", str(self.batch))
        weights = () if self.quantize is None else ("--quantize", self.quantize)
        return ("--seed", str(self.seed), *batch, *weights, *self._flags())

    def words(self) -> str:
        """Return what differs from the default, for a person, the seed left out."""
        batch = () if self.batch is None else (f"batch {self.batch}",)
        weights = () if self.quantize is None else (self.quantize,)
        return "".join(f", {word}" for word in (*batch, *weights, *self._flags()))

    def _flags(self) -> tuple[str, ...]:
        flags = {"--keep-fused": self.decompose.keep_fused, "--im2col": self.decompose.im2col}
        return tuple(flag for flag, chosen in flags.items() if chosen)


@dataclass(frozen=True)
class Binding:
    """The lengths of a point's inputs, apart from that of the sequence."""

    axes: tuple[tuple[str, int], ...] = ()  # lengths of named axes of an .onnx file
    shapes: tuple[tuple[str, Shape], ...] = ()  # of inputs of an .onnx file
    inputs: str | None = None  # .npz file with the values of the inputs; None: random

    def given(self) -> dict[str, Array] | None:
        """Return the values of the inputs; None: they are random.

        Raises
        ------
        PimloopError
            When the file cannot be read.
        """
        return None if self.inputs is None else read_arrays(Path(self.inputs))

    def arguments(self) -> tuple[str, ...]:
        """Return the arguments of `pimloop sim` that say the same.

        >>> Binding((("past", 8),), (("x", (1, 16)),)).arguments()
        ('--axis', 'past=8', '--shape', 'x=1,16')
        """
        axes = [part for name, length in self.axes for part in ("--axis", f"{name}={length}")]
        shapes = [
            part
            for name, shape in self.shapes
            for part in ("--shape", f"{name}={','.join(map(str, shape))}")
        ]
        inputs = () if self.inputs is None else ("--inputs", self.inputs)
        return (*axes, *shapes, *inputs)

    def texts(self) -> dict[str, str]:
        """Return what is bound as texts, by what it is called in figures and for a person.

        >>> Binding((("past", 8),), (("x", (1, 16)),), "in/a.npz").texts()
        {'axis past': '8', 'shape of x': '1x16', 'inputs': 'a.npz'}
        """
        axes = {f"axis {name}": str(length) for name, length in self.axes}
        shapes = {f"shape of {name}": "x".join(map(str, shape)) for name, shape in self.shapes}
        inputs = {} if self.inputs is None else {"inputs": Path(self.inputs).name}
        return {**axes, **shapes, **inputs}

    def words(self) -> str:
        """Return the same in one text, which follows other words."""
        return "".join(f", {name} = {text}" for name, text in self.texts().items())


def bindings(
    axes: Mapping[str, Sequence[int]],
    shapes: Mapping[str, Sequence[Shape]],
    inputs: Sequence[str],
) -> list[Binding]:
    """Return every combination of values to try.

    >>> [binding.axes for binding in bindings({"past": [8, 16]}, {}, [])]
    [(('past', 8),), (('past', 16),)]
    """

    files: Sequence[str | None] = inputs or [None]
    return [
        Binding(lengths, whole, file)
        for lengths, whole, file in product(_choices(axes), _choices(shapes), files)
    ]


def _choices(values: Mapping[str, Sequence[T]]) -> Iterator[tuple[tuple[str, T], ...]]:
    return product(*([(name, value) for value in tried] for name, tried in values.items()))


def loading_of(model: str, loading: Loading, binding: Binding) -> Loading:
    """Return how one model is loaded: what would do nothing for it is left out.

    Fused operators are a matter of .onnx files, and a seed one of random weights and inputs, which
    not all models of a sweep need have.
    """
    if model in BUILT_IN or Path(model).is_dir() or is_configuration(Path(model)):
        loading = replace(loading, decompose=Choice())
    if binding.inputs is not None and has_own_weights(model):
        loading = replace(loading, seed=0)
    return loading


def load_options(length: int | None, loading: Loading, binding: Binding) -> LoadOptions:
    """Return what the model of a point is loaded with.

    Parameters
    ----------
    length
        Tokens; None: the model's own.

    Raises
    ------
    PimloopError
        When the file of the inputs cannot be read.
    """
    return LoadOptions(
        length,
        loading.seed,
        shapes=dict(binding.shapes),
        axes=dict(binding.axes),
        given=binding.given() or {},
        batch=loading.batch,
        decompose=loading.decompose,
        quantize=loading.quantize,
    )
