"""Exports one architecture by one exporter, loads the file, and counts what the PIM can take.

Called in a process of its own by `run.py`: an exporter may take it down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from benchmarks.exporters.architectures import ARCHITECTURES, TOKENS, Example
from pimloop.host.cpu.operators import run_reference
from pimloop.host.models.decompose import Choice
from pimloop.host.models.graph import Graph
from pimloop.host.models.inputs import random_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.operators import Capabilities
from pimloop.host.pim.fit import pim_fit
from pimloop.host.planning.coverage import coverage
from pimloop.host.planning.reasons import reasons
from pimloop.host.platforms.platform import load_platform


class _Plain(torch.nn.Module):
    """A model that takes its inputs by position and returns its first output."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: Any) -> Any:
        cache = {"use_cache": False} if "Causal" in type(self.model).__name__ else {}
        return self.model(**dict(zip(self.names, values, strict=True)), **cache)[0]


#: Writes a file of an example into a folder and returns its path.
Exporter = Callable[[Example, Path], Path]


def _torch(dynamo: bool) -> Exporter:
    def export(example: Example, folder: Path) -> Path:
        path = folder / ("torch.onnx" if dynamo else "torchscript.onnx")
        partial = path.with_name(f"partial-{path.name}")
        options: dict[str, Any] = {"dynamo": True} if dynamo else {
            "dynamo": False, "opset_version": 17
        }  # fmt: skip
        torch.onnx.export(
            _Plain(example.model, list(example.inputs)), tuple(example.inputs.values()),
            str(partial), input_names=list(example.inputs), output_names=["output"],
            external_data=False, **options,
        )  # fmt: skip
        return partial.rename(path)

    return export


def _optimum(example: Example, folder: Path) -> Path:
    from optimum.exporters.onnx import onnx_export_from_model

    model = example.whole or example.model
    if "past" in example.task:
        model.config.use_cache = True
    onnx_export_from_model(
        model, folder / "optimum", task=example.task, do_validation=False, **example.shapes
    )
    return folder / "optimum" / example.file


def _basis(example: Example, folder: Path) -> Path:
    """Return what optimizers and quantizers start from: an export by TorchScript where it works.

    The folder may have it from before.
    """
    for name in ("torchscript.onnx", "torch.onnx"):
        if (folder / name).is_file():
            return folder / name
    try:
        return _torch(dynamo=False)(example, folder)
    except Exception:  # whatever torch raises where TorchScript cannot trace a model
        example.model.eval()  # the failed export may leave it in training
        return _torch(dynamo=True)(example, folder)


def _fused(example: Example, folder: Path) -> Path:
    """ONNX Runtime's transformer optimizer."""
    from onnxruntime.transformers.optimizer import optimize_model

    config = example.model.config
    kinds = {"gpt2": "gpt2", "vit": "vit", "bart": "bart", "t5": "t5", "clip_text_model": "clip"}
    kind = kinds.get(config.model_type, "bert")
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "n_head", 0)
    width = getattr(config, "hidden_size", None) or getattr(config, "d_model", 0)
    if not isinstance(heads, int) or not heads:
        heads = width = 0  # none, or by stage: the optimizer finds them in the graph
    optimized = optimize_model(
        str(_basis(example, folder)), kind, opt_level=0, num_heads=heads, hidden_size=width
    )
    optimized.save_model_to_file(str(folder / "fused.onnx"))
    return folder / "fused.onnx"


def _four_bits(example: Example, folder: Path) -> Path:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    path = _basis(example, folder)
    quantizer = MatMulNBitsQuantizer(onnx.load(str(path)), block_size=32, is_symmetric=False)
    quantizer.process()
    quantizer.model.save_model_to_file(str(folder / "packed.onnx"))
    return folder / "packed.onnx"


def _eight_bits(example: Example, folder: Path) -> Path:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(_basis(example, folder)), str(folder / "dynamic.onnx"))
    return folder / "dynamic.onnx"


class _Samples:
    """The example inputs, once, for a calibration."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self._left = [{name: value.numpy() for name, value in inputs.items()}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def _qdq(example: Example, folder: Path) -> Path:
    from onnxruntime.quantization import quantize_static

    path = _basis(example, folder)
    names = {value.name for value in onnx.load(str(path), load_external_data=False).graph.input}
    samples = _Samples({name: v for name, v in example.inputs.items() if name in names})
    quantize_static(str(path), str(folder / "qdq.onnx"), samples, op_types_to_quantize=["MatMul"])
    return folder / "qdq.onnx"


EXPORTERS: dict[str, Exporter] = {
    "torch": _torch(dynamo=True),
    "torch, TorchScript": _torch(dynamo=False),
    "optimum": _optimum,
    "fused by ONNX Runtime": _fused,
    "4 bits (MatMulNBits)": _four_bits,
    "8 bits, dynamic": _eight_bits,
    "8 bits, QDQ": _qdq,
}


def measure(architecture: str, exporter: str, folder: Path) -> dict[str, Any]:
    """Return what one export gives: shares of multiply-adds, operators, errors.

    `folder` is kept over the exporters of one architecture, which share a basis.
    """
    torch.manual_seed(0)
    example = ARCHITECTURES[architecture]()
    for model in (example.whole, example.model):
        if model is not None:
            model.eval()
    path = EXPORTERS[exporter](example, folder)
    return _loaded(path, {name: tuple(value.shape) for name, value in example.inputs.items()})


def _loaded(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    declared = onnx.load(str(path), load_external_data=False).graph.input
    names = {value.name for value in declared}
    params = {d.dim_param for v in declared for d in v.type.tensor_type.shape.dim}
    cache = {"past_sequence_length": TOKENS} if "past_sequence_length" in params else {}
    images = {n: s for n, s in shapes.items() if n in names and len(s) != 2}
    tokens = any(len(s) == 2 for n, s in shapes.items() if n in names)
    graphs = {}
    for label, choice in (
        ("whole", Choice(keep_fused=True)),
        ("decomposed", Choice()),
        ("im2col", Choice(im2col=True)),
    ):
        options = LoadOptions(shapes=images, axes=cache, decompose=choice,
                              sequence_length=TOKENS if tokens else None)  # fmt: skip
        graphs[label] = load_model(str(path), options)
    platform = load_platform("aim")
    graph = graphs["decomposed"]
    fits = {label: pim_fit(graph, platform).operations for label, graph in graphs.items()}
    return {
        **{label: coverage(graph, fits[label]).share for label, graph in graphs.items()},
        "operators": len(graph.nodes),
        "fused": dict(graph.decomposed),
        "kept_whole": sorted(set(graph.kept_whole.values())),
        "products_on_cpu": _products_on_cpu(graph, fits["decomposed"], platform.capabilities),
        **_errors(path, graph),
    }


def _products_on_cpu(
    graph: Graph, capable: Collection[str], capabilities: Capabilities
) -> dict[str, list[str]]:
    """Return the types of the operators with products that stay on the CPU, by the reason."""
    groups = reasons(graph, capable, capabilities)
    return {group.reason: sorted(group.operators) for group in groups if group.multiply_adds}


def _errors(path: Path, graph: Graph) -> dict[str, float]:
    """Return the largest differences of the outputs to ONNX Runtime's on the file.

    `error` is that to what ONNX Runtime gives by default, `plain_error` with its optimizations off.
    """
    feeds = random_inputs(graph, 0)
    feeds = {n: np.ones_like(v) if "mask" in n else v for n, v in feeds.items()}
    got = run_reference(graph, feeds)
    levels = ort.GraphOptimizationLevel
    return {
        "error": _difference_to(path, feeds, got, levels.ORT_ENABLE_ALL),
        "plain_error": _difference_to(path, feeds, got, levels.ORT_DISABLE_ALL),
    }


def _difference_to(path: Path, feeds: Any, got: Any, level: Any) -> float:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = level
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    asked = {value.name for value in session.get_inputs()}
    wanted = session.run(None, {n: v for n, v in feeds.items() if n in asked})
    outputs = zip(wanted, session.get_outputs(), strict=True)
    return max((_difference(v, got[o.name]) for v, o in outputs if v.size), default=0.0)


def _difference(wanted: Any, got: Any) -> float:
    """Return the largest difference as a part of the largest value; infinite where kinds differ."""
    if wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(wanted, got) else float("inf")
    finite = np.isfinite(wanted)
    if not np.array_equal(wanted[~finite], got[~finite], equal_nan=True):
        return float("inf")
    scale = float(np.abs(wanted[finite]).max(initial=0.0)) or 1.0
    difference = np.abs(np.where(finite, got, 0) - np.where(finite, wanted, 0))
    return float("inf") if np.isnan(difference).any() else float(difference.max()) / scale
