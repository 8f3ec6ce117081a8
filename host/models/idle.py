"""What does nothing for a model, for the commands and for `pimloop.load_model`."""

from __future__ import annotations

from pathlib import Path

from pimloop.host.common.idle import Idle


def _is_built_in(model: str) -> bool:
    from pimloop.host.models.built_in import BUILT_IN  # every architecture: not for `--help`

    return model in BUILT_IN


def has_own_loader(model: str) -> bool:
    """Whether a model is none of a plug-in, which uses options as it likes."""
    path = Path(model)
    return _is_built_in(model) or path.is_dir() or path.suffix in (".onnx", ".json")


def has_own_weights(model: str) -> bool:
    """Whether a model comes with its weights: a folder or an .onnx file."""
    return not _is_built_in(model) and (Path(model).is_dir() or Path(model).suffix == ".onnx")


#: Of everything that executes a model.
LOADING = (
    Idle(
        {"seed": 0},
        "the inputs are given, and {model} has weights of its own",
        lambda values: values["inputs"] is not None and has_own_weights(values["model"]),
    ),
)
