"""Where ONNX Runtime computes something else than ONNX says.

Shown by ONNX's own backend tests (`tests/host/models/test_onnx_backend.py`). Such an operator is
replaced by its definition where it has one, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pimloop.host.models.graph import Array, Node, TensorInfo


def deviation(
    node: Node, infos: Mapping[str, TensorInfo], values: Mapping[str, Array]
) -> str | None:
    """Return how ONNX Runtime deviates from ONNX in this operator; None where it does not.

    Parameters
    ----------
    node
        The operator.
    infos
        Of its inputs.
    values
        Its inputs as far as they are known before the model runs.
    """
    if node.domain:
        return None
    match node.op:
        case "Attention":
            return _attention(node, infos)
        case "MaxUnpool" if len(node.inputs) > 2:
            return "ONNX Runtime counts indices of MaxUnpool with output_shape in another shape"
        case "Resize":
            return _resize(node, infos, values)
    return None


def _attention(node: Node, infos: Mapping[str, TensorInfo]) -> str | None:
    if len(node.outputs) > 3 and node.outputs[3]:
        return "ONNX Runtime returns the product of Attention without its causal mask"
    names = [*node.inputs, *[""] * 5]
    mask, past = names[3], names[4]
    if mask and not past and infos[mask].shape[-1] != infos[names[1]].shape[-2]:
        return "ONNX Runtime takes no mask of Attention that is shorter than its keys"
    return None


def _resize(node: Node, infos: Mapping[str, TensorInfo], values: Mapping[str, Array]) -> str | None:
    """ONNX aligns corners of the exact lengths, ONNX Runtime of the rounded ones."""
    mode = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    if mode not in (b"align_corners", "align_corners") or len(node.inputs) < 3:
        return None
    scales = values.get(node.inputs[2])
    if scales is None or not scales.size:
        return None
    if node.attributes.get("axes"):
        return None
    lengths = np.array(infos[node.inputs[0]].shape[: scales.size]) * scales
    if np.allclose(lengths, np.round(lengths), rtol=1e-5):
        return None
    return "ONNX Runtime aligns the corners of a Resize to a rounded length, ONNX to the exact one"
