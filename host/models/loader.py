"""The one way in: a model's name, and out comes its graph.

A name is a built-in model (`built_in.BUILT_IN`), a Hugging Face folder or its config.json alone
(`checkpoint`), or an .onnx file (`onnx_file`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pimloop.errors import PimloopError
from pimloop.host.common.numbers import whole
from pimloop.host.models.architectures.registry import architecture_of
from pimloop.host.models.built_in import BUILT_IN
from pimloop.host.models.checkpoint import is_configuration, open_checkpoint, read_config
from pimloop.host.models.config import ModelConfig
from pimloop.host.models.decompose import Choice
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.onnx_file import load_onnx
from pimloop.host.models.onnx_shapes import AxisOptions
from pimloop.host.models.parameters import Weights
from pimloop.host.models.quantize.products import quantized
from pimloop.host.models.weights import RandomWeights

#: Sequence length when none is given.
DEFAULT_SEQUENCE = 16


@dataclass(frozen=True)
class LoadOptions:
    """What a user may choose about a model."""

    sequence_length: int | None = None  # tokens; None: DEFAULT_SEQUENCE, of .onnx: no such axis
    seed: int = 0  # of random weights
    hidden_states: bool = False  # also return the last layer's output
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of an .onnx file's inputs
    axes: Mapping[str, int] = field(default_factory=dict)  # lengths of its axes, by their names
    given: Mapping[str, Array] = field(default_factory=dict)  # values of inputs; they decide shapes
    batch: int | None = None  # sequences at once; None: 1
    decompose: Choice = field(default_factory=Choice)  # which fused operators of an .onnx file
    quantize: str | None = None  # "w8", "w4": the integer weights that products get

    def __post_init__(self) -> None:
        """Raise PimloopError for a seed that no generator takes."""
        object.__setattr__(self, "seed", whole("the seed", self.seed, 0))


def load_model(name: str, options: LoadOptions | None = None) -> Graph:
    """Return the graph of a model.

    Raises
    ------
    PimloopError
        When there is no such model, its files are damaged, the sequence length is outside
        1..the model's limit, or its weights cannot be quantized as is asked for.
    """
    options = options or LoadOptions()
    path = Path(name)
    if name not in BUILT_IN and path.suffix == ".onnx":
        _check_length(options.sequence_length)
        return load_onnx(
            path,
            AxisOptions(
                options.given, options.shapes, options.axes, options.batch, options.sequence_length
            ),
            options.decompose,
            options.quantize,
        )
    for option, values in (("--shape", options.shapes), ("--axis", options.axes)):
        if values:
            raise PimloopError(f"model {name}: {option} is for .onnx files; use --seq, --batch")
    for option, chosen in (
        ("--keep-fused", options.decompose.keep_fused),
        ("--im2col", options.decompose.im2col),
    ):
        if chosen:
            raise PimloopError(
                f"{option} would do nothing: model {name} has no fused operators and no"
                " convolutions; it is for .onnx files; leave it out"
            )
    drawn = with_random_weights(name, options.seed)
    if drawn is not None:
        graph = build_graph(*drawn, options)
        # The published models run one sequence.
        alone = graph.tensors[graph.inputs[0]].shape[0] == 1
        return replace(graph, built_in=name in BUILT_IN and alone)
    if path.is_dir():
        return _from_folder(path, options)
    raise PimloopError(
        f"unknown model '{name}'; known models: {', '.join(BUILT_IN)}, or give a Hugging Face"
        " folder, its config.json or an .onnx file"
    )


def with_random_weights(name: str, seed: int) -> tuple[ModelConfig, RandomWeights] | None:
    """Return what a built-in model or a config.json alone is built from; None for other names.

    Raises
    ------
    PimloopError
        When the file describes no model that is supported.
    """
    if name in BUILT_IN:
        config = BUILT_IN[name]
    elif is_configuration(Path(name)):
        config = read_config(Path(name))
    else:
        return None
    return config, RandomWeights(config, seed)


def _from_folder(path: Path, options: LoadOptions) -> Graph:
    config, weights = open_checkpoint(path)
    graph = build_graph(config, weights, options)
    weights.check_all_read(config.head)
    return graph


def _check_length(length: int | None) -> None:
    if length is not None and length < 1:
        raise PimloopError(f"sequence length {length}: at least 1 token is needed")


def build_graph(config: ModelConfig, weights: Weights, options: LoadOptions) -> Graph:
    """Return the graph of a transformer with the given parameters."""
    length = options.sequence_length
    if length is None:
        length = min(DEFAULT_SEQUENCE, config.max_sequence)
    if not 1 <= length <= config.max_sequence:
        raise PimloopError(
            f"model {config.name}: sequence length {length} is outside 1..{config.max_sequence}"
        )
    batch = 1 if options.batch is None else options.batch
    if batch < 1:
        raise PimloopError(f"model {config.name}: batch {batch}: at least 1 sequence is needed")
    if options.given:
        length, batch = _given_sizes(config, options, length, batch)
        check_mask(options.given.get("attention_mask"), (batch, length), f"model {config.name}")
    graph = architecture_of(config).graph(
        config,
        weights,
        length,
        batch=batch,
        hidden_states=options.hidden_states,
        masked="attention_mask" in options.given,
    )
    return quantized(graph, options.quantize)


def check_mask(mask: Array | None, shape: tuple[int, int], where: str) -> None:
    """Raise PimloopError unless an attention mask is (batch, length) of 0 and 1; None passes."""
    if mask is None:
        return
    if mask.shape != shape:
        raise PimloopError(
            f"{where}: attention_mask has the shape {list(mask.shape)}; it must be {list(shape)},"
            " a row for each sequence and an element for each of its tokens"
        )
    if not ((mask == 0) | (mask == 1)).all():
        raise PimloopError(f"{where}: attention_mask must be 1 for tokens and 0 for padding")


def _given_sizes(
    config: ModelConfig, options: LoadOptions, length: int, batch: int
) -> tuple[int, int]:
    """Return length and batch of the values that are given for a built model's `input_ids`."""
    value = options.given.get("input_ids")
    if value is None or value.ndim != 2:
        return length, batch  # `check_inputs` says what is wrong
    shape = value.shape
    for asked, given, size in (
        (options.sequence_length, shape[1], "--seq"),
        (options.batch, shape[0], "--batch"),
    ):
        if asked is not None and asked != given:
            raise PimloopError(
                f"model {config.name}: {size} {asked}, but the given input_ids have the shape"
                f" {list(shape)}"
            )
    if not 1 <= shape[1] <= config.max_sequence:
        raise PimloopError(
            f"model {config.name}: sequence length {shape[1]} is outside 1..{config.max_sequence}"
        )
    return shape[1], shape[0]
