"""Products by integer weights as a raw device runs them, for tests of devices."""

from __future__ import annotations

import numpy as np

from pimloop.host.common import golden, golden_quantized
from pimloop.host.pim.device import integers
from pimloop.host.pim.device.validate import right_bytes, round_up
from pimloop.host.pim.driver import descriptors
from pimloop.host.pim.driver.descriptors import Descriptor
from pimloop.rtl.tables.isa import Code, Init, Weights
from support.random_lists import random_bits
from support.raw import RawDevice

#: Bits of a weight.
BITS = {Weights.W8: 8, Weights.W4: 4}

#: Device addresses of operands: A, B, C, Y.
A_AT, B_AT, C_AT, Y_AT = 0, 8 << 20, 16 << 20, 24 << 20


class Product:
    """Random operands of one product, laid out in device memory, and its expected sums."""

    def __init__(
        self,
        raw: RawDevice,
        rng: np.random.Generator,
        weights: Weights,
        *,
        rows: int,
        inner: int,
        beats: int,
        tile: int,
        group: int,
        init: Init = Init.ZERO,
        out_f32: bool = False,
    ) -> None:
        g = raw.geometry
        self._raw, self._rows, self._out_f32 = raw, rows, out_f32
        self._columns = columns = beats * g.beat_columns
        half = 1 << BITS[weights] - 1
        self.a = random_bits(rng, rows * inner).reshape(rows, inner)
        self.b = rng.integers(-half, half, (inner, columns)).astype(np.int8)
        self.scales = random_bits(rng, -(-inner // (1 << group)) * columns).reshape(-1, columns)
        stride_a, stride_c = round_up(2 * inner, g.beat_bytes), 4 * columns
        for row, bits in enumerate(self.a):
            self._put(A_AT + row * stride_a, bits)
        address = B_AT
        for part in integers.parts(inner, columns, tile * g.beat_columns, 1 << group, weights):
            words = integers.pack(self.b[part.rows, part.columns], weights, g.beat_columns)
            self._put(address, words)
            self._put(address + words.nbytes, self.scales[part.group, part.columns])
            address += words.nbytes + 2 * part.scale_words
        assert address - B_AT == right_bytes(inner, columns, weights, group)
        self.start = None
        if init == Init.ROW:
            self.start = random_bits(rng, columns)
            self._put(C_AT, self.start)
        elif init == Init.F32:
            self.start = golden.bf16_to_f32(random_bits(rng, rows * columns)).reshape(rows, columns)
            self._put(C_AT, self.start.view(np.uint16))
        self.expected = golden_quantized.matmul(
            self.a, self.b, self.scales, 1 << group, self.start, out_f32=True
        )
        self.item: Descriptor = descriptors.matmul(
            A_AT, B_AT, Y_AT, rows=rows, inner=inner, cols=columns, stride_a=stride_a,
            stride_y=(4 if out_f32 else 2) * columns, tile=tile, init=init, c=C_AT,
            stride_c=stride_c, out_f32=out_f32, weights=weights, group=group,
        )  # fmt: skip

    def check(self) -> None:
        """Run the product; assert that the result has the bits expected."""
        wanted = self.expected.view(np.uint32)
        if not self._out_f32:
            wanted = golden.to_bf16_bits(self.expected)
        assert [status.code for status in self._raw.run([self.item])] == [Code.DONE, Code.DONE]
        got = self._raw.read_memory(Y_AT, wanted.nbytes).view(wanted.dtype).reshape(wanted.shape)
        np.testing.assert_array_equal(got, wanted)

    def _put(self, address: int, bits: np.ndarray) -> None:
        data = np.ascontiguousarray(bits).reshape(-1).view(np.uint8)
        self._raw.write_memory(address, np.pad(data, (0, -data.size % 64)))
