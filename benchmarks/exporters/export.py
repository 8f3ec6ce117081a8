"""Exports one architecture by one exporter, loads the file, and prints what the PIM can take.

Run in a process of its own by `run.py`: an exporter may take it down.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from benchmarks.exporters.architectures import ARCHITECTURES, TOKENS
from host.coverage import coverage
from host.cpu.operators import run_reference
from host.fit import pim_fit
from host.models.decompose import Choice
from host.models.inputs import random_inputs
from host.models.loader import LoadOptions, load_model
from host.pim_reasons import cpu_only
from host.platform import load_platform


class _Plain(torch.nn.Module):
    """A model that takes its inputs by position and returns its first output."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: Any) -> Any:
        cache = {"use_cache": False} if "Causal" in type(self.model).__name__ else {}
        return self.model(**dict(zip(self.names, values, strict=True)), **cache)[0]


def _torch(dynamo: bool) -> Callable[[Any, dict[str, Any], Path], Path]:
    def export(model: Any, inputs: dict[str, Any], folder: Path) -> Path:
        path = folder / "model.onnx"
        options: dict[str, Any] = {"dynamo": True} if dynamo else {
            "dynamo": False, "opset_version": 17
        }  # fmt: skip
        torch.onnx.export(
            _Plain(model, list(inputs)), tuple(inputs.values()), str(path),
            input_names=list(inputs), output_names=["output"], **options,
        )  # fmt: skip
        return path

    return export


def _optimum(model: Any, inputs: dict[str, Any], folder: Path) -> Path:
    from optimum.exporters.onnx import onnx_export_from_model

    causal = "Causal" in type(model).__name__ or "LMHead" in type(model).__name__
    task = "text-generation-with-past" if causal else "feature-extraction"
    if causal:
        model.config.use_cache = True
    onnx_export_from_model(model, folder, task=task, do_validation=False)
    paths = sorted(folder.glob("*.onnx"))
    return next((p for p in paths if p.name == "model.onnx"), paths[0])


def _basis(model: Any, inputs: dict[str, Any], folder: Path) -> Path:
    """Return what optimizers and quantizers start from: an export by TorchScript where it works."""
    try:
        return _torch(dynamo=False)(model, inputs, folder)
    except Exception:  # whatever torch raises where TorchScript cannot trace a model
        model.eval()  # the failed export may leave it in training
        return _torch(dynamo=True)(model, inputs, folder)


def _fused(model: Any, inputs: dict[str, Any], folder: Path) -> Path:
    """ONNX Runtime's transformer optimizer."""
    from onnxruntime.transformers.optimizer import optimize_model

    path = _basis(model, inputs, folder)
    config = model.config
    kind = config.model_type if config.model_type in ("gpt2", "vit", "bart") else "bert"
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "n_head", 0)
    width = getattr(config, "hidden_size", None) or getattr(config, "d_model", 0)
    optimized = optimize_model(str(path), kind, num_heads=heads, hidden_size=width, opt_level=0)
    optimized.save_model_to_file(str(folder / "fused.onnx"))
    return folder / "fused.onnx"


def _four_bits(model: Any, inputs: dict[str, Any], folder: Path) -> Path:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    path = _basis(model, inputs, folder)
    quantizer = MatMulNBitsQuantizer(onnx.load(str(path)), block_size=32, is_symmetric=False)
    quantizer.process()
    quantizer.model.save_model_to_file(str(folder / "packed.onnx"))
    return folder / "packed.onnx"


def _eight_bits(model: Any, inputs: dict[str, Any], folder: Path) -> Path:
    from onnxruntime.quantization import quantize_dynamic

    path = _basis(model, inputs, folder)
    quantize_dynamic(str(path), str(folder / "dynamic.onnx"))
    return folder / "dynamic.onnx"


class _Samples:
    """The example inputs, once, for a calibration."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self._left = [{name: value.numpy() for name, value in inputs.items()}]

    def get_next(self) -> dict[str, Any] | None:
        return self._left.pop() if self._left else None


def _qdq(model: Any, inputs: dict[str, Any], folder: Path) -> Path:
    from onnxruntime.quantization import quantize_static

    path = _basis(model, inputs, folder)
    names = {value.name for value in onnx.load(str(path), load_external_data=False).graph.input}
    samples = _Samples({name: value for name, value in inputs.items() if name in names})
    quantize_static(str(path), str(folder / "qdq.onnx"), samples, op_types_to_quantize=["MatMul"])
    return folder / "qdq.onnx"


EXPORTERS: dict[str, Callable[[Any, dict[str, Any], Path], Path]] = {
    "torch": _torch(dynamo=True),
    "torch, TorchScript": _torch(dynamo=False),
    "optimum": _optimum,
    "fused by ONNX Runtime": _fused,
    "4 bits (MatMulNBits)": _four_bits,
    "8 bits, dynamic": _eight_bits,
    "8 bits, QDQ": _qdq,
}


def measure(architecture: str, exporter: str) -> dict[str, Any]:
    """Return what one export gives: shares of multiply-adds, operators, errors."""
    torch.manual_seed(0)
    model, inputs = ARCHITECTURES[architecture]()
    model.eval()
    with tempfile.TemporaryDirectory() as place:
        path = EXPORTERS[exporter](model, inputs, Path(place))
        return _loaded(path, {name: tuple(value.shape) for name, value in inputs.items()})


def _loaded(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    declared = onnx.load(str(path), load_external_data=False).graph.input
    names = {value.name for value in declared}
    params = {d.dim_param for v in declared for d in v.type.tensor_type.shape.dim}
    cache = {"past_sequence_length": TOKENS} if "past_sequence_length" in params else {}
    images = {n: s for n, s in shapes.items() if n in names and len(s) != 2}
    axes = {} if images else {"sequence_length": TOKENS}
    graphs = {}
    for label, choice in (
        ("whole", Choice(keep_fused=True)),
        ("decomposed", Choice()),
        ("im2col", Choice(im2col=True)),
    ):
        options = LoadOptions(shapes=images, axes=cache, decompose=choice,
                              sequence_length=TOKENS if axes else None)  # fmt: skip
        graphs[label] = load_model(str(path), options)
    platform = load_platform("aim")
    graph = graphs["decomposed"]
    fits = {label: pim_fit(one, platform).operations for label, one in graphs.items()}
    return {
        **{label: coverage(one, fits[label]).share for label, one in graphs.items()},
        "operators": len(graph.nodes),
        "fused": dict(graph.decomposed),
        "kept_whole": sorted(set(graph.kept_whole.values())),
        "reasons": cpu_only(graph, fits["decomposed"], platform.capabilities),
        "error": _error(path, graph),
    }


def _error(path: Path, graph: Any) -> float:
    """Return the largest difference of the outputs to ONNX Runtime's on the file."""
    feeds = random_inputs(graph, 0)
    feeds = {n: np.ones_like(v) if "mask" in n else v for n, v in feeds.items()}
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    asked = {value.name for value in session.get_inputs()}
    wanted = session.run(None, {n: v for n, v in feeds.items() if n in asked})
    got = run_reference(graph, feeds)
    worst = 0.0
    for value, output in zip(wanted, session.get_outputs(), strict=True):
        if value.dtype.kind == "f" and value.size:
            scale = float(np.abs(value).max()) or 1.0
            worst = max(worst, float(np.abs(got[output.name] - value).max()) / scale)
    return worst


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
