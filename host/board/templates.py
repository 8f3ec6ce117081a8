"""The operators of the board's three models with their shapes.

The published traces hold bytes, not shapes. Each template states the shapes of one class of
operators as its model's architecture has them; `pimloop.host.board.distil` matches every node to
the template whose bytes are the node's at all three sequence lengths, and refuses what matches
none.

A dimension is a number or "p", the sequence length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Dimension = int | Literal["p"]
Kind = Literal["activation", "constant", "output"]

#: Positions of GPT-2's causal mask table.
GPT2_POSITIONS = 1024


@dataclass(frozen=True)
class Size:
    """The sizes of one of the paper's models."""

    hidden: int
    heads: int
    inner: int  # width of the feed-forward layer
    words: int  # rows of the token table


SIZES = {
    "bert": Size(512, 8, 2048, 30522),
    "roberta": Size(768, 12, 3072, 50265),
    "gpt2": Size(768, 12, 3072, 50257),
}


@dataclass(frozen=True)
class Operand:
    """One tensor of an operator."""

    kind: Kind
    dtype: str  # numpy name
    shape: tuple[Dimension, ...]

    def at(self, length: int) -> tuple[int, ...]:
        """Return the shape for a sequence length."""
        return tuple(length if size == "p" else size for size in self.shape)

    def nbytes(self, length: int) -> int:
        """Return the bytes for a sequence length."""
        total = 8 if self.dtype == "int64" else 4
        for size in self.at(length):
            total *= size
        return total


@dataclass(frozen=True)
class Template:
    """One class of operators: type, operands in ONNX order, attributes that matter for its cost."""

    op: str
    operands: tuple[Operand, ...]
    attributes: tuple[tuple[str, int | float | tuple[int, ...]], ...] = ()

    @property
    def transposed(self) -> bool:
        """Whether it is a product whose weights are stored transposed."""
        return bool(dict(self.attributes).get("transB"))

    def nbytes(self, kind: Kind, length: int) -> int:
        """Return the bytes of all operands of a kind for a sequence length."""
        return sum(operand.nbytes(length) for operand in self.operands if operand.kind == kind)


def _operand(kind: Kind, dtype: str = "float32") -> Callable[..., Operand]:
    return lambda *shape: Operand(kind, dtype, shape)


_a, _c, _o = _operand("activation"), _operand("constant"), _operand("output")
_ai, _ci, _oi = (_operand(kind, "int64") for kind in ("activation", "constant", "output"))

#: Of the heads to rows: the last axis stays, blocks of a head's size move.
BLOCKS = (0, 2, 1, 3)
#: Keys to columns: the axis of the tokens becomes the last one.
COLUMNS = (0, 2, 3, 1)


def templates(model: str) -> list[Template]:
    """Return the operator classes of `bert`, `roberta` or `gpt2`."""
    size = SIZES[model]
    shared = _layer_norm(size) + _attention(size) + _embeddings(size)
    return shared + (_gpt2(size) if model == "gpt2" else _encoder(size, model))


def _binary(op: str, left: Operand, right: Operand) -> Template:
    result = Operand("output", left.dtype, left.shape)
    return Template(op, (left, right, result))


def _layer_norm(size: Size) -> list[Template]:
    x, column, row, scalar = _a(1, "p", size.hidden), _a(1, "p", 1), _c(size.hidden), _c()
    return [
        Template("ReduceMean", (x, _o(1, "p", 1))),
        _binary("Sub", x, column),
        _binary("Pow", x, scalar),
        _binary("Add", column, scalar),
        Template("Sqrt", (column, _o(1, "p", 1))),
        _binary("Div", x, column),
        _binary("Mul", x, row),
        _binary("Add", x, row),
        _binary("Add", x, x),
    ]


def _attention(size: Size) -> list[Template]:
    head = size.hidden // size.heads
    scores = _a(1, size.heads, "p", "p")
    queries, keys = _a(1, size.heads, "p", head), _a(1, size.heads, head, "p")
    rows = _a(1, "p", size.heads, head)
    by_columns = Template("Transpose", (rows, _o(1, size.heads, head, "p")), (("perm", COLUMNS),))
    return [
        Template("MatMul", (queries, keys, _o(1, size.heads, "p", "p"))),
        _binary("Div", scores, _c()),
        Template("Softmax", (scores, _o(1, size.heads, "p", "p"))),
        Template("MatMul", (scores, queries, _o(1, size.heads, "p", head))),
        Template("Transpose", (rows, _o(1, size.heads, "p", head)), (("perm", BLOCKS),)),
        by_columns,
    ]


def _embeddings(size: Size) -> list[Template]:
    x = _a(1, "p", size.hidden)
    return [
        Template("Gather", (_c(size.words, size.hidden), _ai(1, "p"), _o(1, "p", size.hidden))),
        _binary("Add", x, _c(1, "p", size.hidden)),
    ]


def _encoder(size: Size, model: str) -> list[Template]:
    h, inner = size.hidden, size.inner
    x, wide, scores = _a(1, "p", h), _a(1, "p", inner), _a(1, size.heads, "p", "p")
    transposed = (("transB", 1),)
    mask = _a(1, 1, 1, "p") if model == "bert" else _c(1, 1, 1, "p")
    operators = [
        Template("MatMul", (x, _c(h, h), _o(1, "p", h))),
        Template("MatMul", (x, _c(h, inner), _o(1, "p", inner))),
        Template("MatMul", (wide, _c(inner, h), _o(1, "p", h))),
        _binary("Add", wide, _c(inner)),
        _binary("Div", wide, _c()),
        Template("Erf", (wide, _o(1, "p", inner))),
        _binary("Add", wide, _c()),
        _binary("Mul", wide, _c()),
        _binary("Mul", wide, wide),
        _binary("Add", scores, mask),
        Template("Reshape", (x, _ci(4), _o(1, "p", size.heads, h // size.heads))),
        Template("Reshape", (x, _ci(3), _o(1, "p", h))),
        Template("Gather", (x, _ci(), _o(1, h)), (("axis", 1),)),
        Template("Gemm", (_a(1, h), _c(h, h), _c(h), _o(1, h)), transposed),
        Template("Tanh", (_a(1, h), _o(1, h))),
        Template("Gemm", (_a(1, h), _c(2, h), _c(2), _o(1, 2)), transposed),
    ]
    if model == "bert":
        bias = _a(1, 1, 1, "p")
        operators += [
            Template("Gather", (_c(2, h), _ai(1, "p"), _o(1, "p", h))),
            Template("Unsqueeze", (_ai(1, "p"), _ci(1), _oi(1, 1, "p"))),
            Template("Cast", (_ai(1, 1, 1, "p"), _o(1, 1, 1, "p"))),
            _binary("Sub", bias, _c()),
            _binary("Mul", bias, _c()),
        ]
    return operators


def _gpt2(size: Size) -> list[Template]:
    h, inner, heads = size.hidden, size.inner, size.heads
    head = h // heads
    wide, joint = _a(1, "p", inner), _a(1, "p", 3 * h)
    scores, square = _a(1, heads, "p", "p"), _a(1, 1, "p", "p")
    kept = _a(1, 1, "p", GPT2_POSITIONS)
    scalar, number = _ai(1), _ai()
    operators = [
        *(
            Template("Gemm", (_a("p", q), _c(q, r), _c(r), _o("p", r)))
            for q, r in ((h, h), (h, 3 * h), (h, inner), (inner, h))
        ),
        Template("Split", (joint, *[_o(1, "p", h)] * 3)),
        _binary("Mul", wide, _c()),
        _binary("Add", wide, _c()),
        _binary("Pow", wide, _c()),
        _binary("Add", wide, wide),
        _binary("Mul", wide, wide),
        Template("Tanh", (wide, _o(1, "p", inner))),
        _binary("Mul", scores, square),
        _binary("Sub", scores, square),
        _binary("Sub", square, _c()),
        _binary("Mul", square, _c()),
        Template("Slice", (_c(1, 1, GPT2_POSITIONS, GPT2_POSITIONS), scalar, scalar, _ci(1), _ci(1),
                           _o(1, 1, "p", GPT2_POSITIONS))),
        Template("Slice", (kept, _ci(1), scalar, _ci(1), _ci(1), _o(1, 1, "p", "p"))),
        Template("Unsqueeze", (_a(1, heads, "p", head), _o(1, 1, heads, "p", head))),
        Template("Concat", (*[_a(1, 1, heads, "p", head)] * 2, _o(2, 1, heads, "p", head))),
    ]  # fmt: skip
    return operators + _gpt2_shapes(size) + [
        _binary("Div", number, _ci()),
        _binary("Mul", number, number),
        _binary("Sub", number, number),
        Template("Unsqueeze", (number, _oi(1))),
        Template("Concat", (scalar, _ci(1), _oi(2))),
        Template("Concat", (scalar, scalar, _ci(1), _oi(3))),
        Template("Concat", (scalar, scalar, scalar, _oi(3))),
        Template("Concat", (scalar, scalar, scalar, _ci(1), _oi(4))),
        Template("Gather", (_ai(3), _ci(), _oi())),
        Template("Gather", (_ai(4), _ci(), _oi())),
    ]  # fmt: skip


def _gpt2_shapes(size: Size) -> list[Template]:
    """Reshapes, by constants and by shapes computed in the graph, and what reads shapes."""
    h, inner, heads = size.hidden, size.inner, size.heads
    operators = [
        Template("Reshape", (_ai(1, "p"), _ci(2), _oi(1, "p"))),
        Template("Reshape", (_a(1, "p", h), _ci(2), _o("p", h))),
        Template("Reshape", (_a(1, "p", h), _ci(4), _o(1, 1, "p", h))),
        Template("Reshape", (_a("p", 3 * h), _ci(3), _o(1, "p", 3 * h))),
        Template("Reshape", (_a(1, "p", h), _ai(4), _o(1, "p", heads, h // heads))),
        Template("Shape", (_a(1, heads, "p", "p"), _oi(4))),
        Template("Shape", (_a(1, "p", h), _oi(3))),
        Template("Shape", (_a(1, "p", heads, h // heads), _oi(4))),
        Template("Shape", (_a(1, "p", inner), _oi(3))),
    ]
    for width in (h, 3 * h, inner):
        operators.append(Template("Reshape", (_a(1, "p", width), _ai(2), _o("p", width))))
        operators.append(Template("Reshape", (_a("p", width), _ai(3), _o(1, "p", width))))
    return operators
