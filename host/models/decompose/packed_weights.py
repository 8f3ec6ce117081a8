"""MatMulNBits of ONNX Runtime: weights of 2, 4 or 8 bits in blocks, each with a scale.

The weights are unpacked to the floats that they stand for, once, when a model is loaded: the PIM
multiplies bfloat16. That is four bytes a weight in CPU memory where the file has half a byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pimloop.errors import PimloopError
from pimloop.host.models.decompose.registry import CONTRIB, Whole, decomposes
from pimloop.host.models.decompose.writer import Writer
from pimloop.host.models.graph import Array

#: The largest unpacked weight; a larger one stays packed.
MAX_BYTES = 1 << 30


@decomposes(CONTRIB, "MatMulNBits")
def packed_product(whole: Whole, write: Writer) -> Sequence[str]:
    """A product with weights (N, K) that are unpacked, then a row added."""
    whole.check_float()
    whole.ignore("accuracy_level")  # the least that is allowed
    whole.check(not whole.integer("weight_prepacked", 0), "its weights are packed for one device")
    columns, inner = whole.integer("N"), whole.integer("K")
    kind = whole.info(0).dtype
    nbytes = columns * inner * kind.itemsize
    whole.check(nbytes <= MAX_BYTES, f"its weights would take {nbytes / 2**30:.1f} GiB unpacked")
    weights = _unpacked(whole, columns, inner)
    name = write.large_constant("weight", np.ascontiguousarray(weights.T).astype(kind))
    result = write.op("MatMul", whole.required(0), name)
    if whole.input(5) is not None:
        result = write.op("Add", result, whole.required(5))
    return [result]


def _unpacked(whole: Whole, columns: int, inner: int) -> NDArray[np.float32]:
    """Return the weights as (N, K): (quantized - zero point) x scale of its block."""
    bits, block = whole.integer("bits", 4), whole.integer("block_size")
    whole.check(bits in (2, 4, 8), f"its weights have {bits} bits")
    packed, scales = whole.constant(1), whole.constant(2)
    whole.check(packed is not None and scales is not None, "its weights are not constant")
    assert packed is not None
    assert scales is not None
    blocks = -(-inner // block)
    whole.check(
        packed.dtype == np.uint8
        and packed.size == columns * blocks * block * bits // 8
        and scales.size == columns * blocks,
        "its weights have not the sizes that K, N and block_size say",
    )
    values = bytes_apart(packed.reshape(columns, blocks, -1), bits).astype(np.float32)
    values -= _zero_points(whole, columns, blocks, bits)[:, :, None]
    values = values.reshape(columns, blocks * block)[:, :inner]
    return values * scales.reshape(columns, blocks).astype(np.float32)[:, _groups(whole, inner)]


def _groups(whole: Whole, inner: int) -> NDArray[np.int64]:
    """Return which scale each row of the weights has."""
    if whole.input(4) is None:
        return np.arange(inner) // whole.integer("block_size")
    whole.check(
        whole.input(3) is None,
        "it has zero points and an index of groups, which ONNX Runtime does not take together",
    )
    given = whole.constant(4)
    whole.check(given is not None and given.size >= inner, "its groups are not constant")
    assert given is not None
    groups = given.astype(np.int64).reshape(-1)[:inner]
    blocks = -(-inner // whole.integer("block_size"))
    wrong = groups[(groups < 0) | (groups >= blocks)]
    if wrong.size:
        raise PimloopError(
            f"node '{whole.node.id}' (MatMulNBits): g_idx names the group {wrong[0]}; there are"
            f" {blocks}, from 0 on; correct the file, or export the model anew"
        )
    return groups


def _zero_points(whole: Whole, columns: int, blocks: int, bits: int) -> NDArray[np.float32]:
    """Return what each block's zero is stored as, (N, blocks)."""
    if whole.input(3) is None:
        return np.full((columns, blocks), 1 << (bits - 1), np.float32)
    given = whole.constant(3)
    whole.check(given is not None, "its zero points are not constant")
    assert given is not None
    if given.dtype != np.uint8:
        return given.reshape(columns, blocks).astype(np.float32)
    apart = bytes_apart(given.reshape(columns, -1), bits)
    return apart[:, :blocks].astype(np.float32)


def bytes_apart(packed: Array, bits: int) -> Array:
    """Return the elements that bytes hold, the low bits first, along the last axis.

    >>> bytes_apart(np.array([0x21, 0x43], np.uint8), 4).tolist()
    [1, 2, 3, 4]
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    apart = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return apart.reshape(*packed.shape[:-1], -1)
