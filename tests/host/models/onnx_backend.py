"""ONNX's own backend tests through the front end: what comes out of each, and why some are refused.

They ship in the onnx package: small models with inputs and expected outputs, one operator each.
`onnx_backend.json` beside this file has the refusals by reason; docs/models.md has a table of it.

    python tests/host/models/onnx_backend.py    # run all, write both
"""

from __future__ import annotations

import json
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from pimloop.errors import PimloopError
from pimloop.host.cpu.operators import run_reference
from pimloop.host.execution.options import Options
from pimloop.host.execution.result import Result
from pimloop.host.execution.runner import execute_model
from pimloop.host.execution.verification import OPERATOR_LIMIT
from pimloop.host.models.graph import Array, Graph
from pimloop.host.models.inputs import check_inputs
from pimloop.host.models.loader import LoadOptions, load_model
from pimloop.host.models.ort_values import is_plain
from pimloop.host.planning.policies import POLICIES
from pimloop.host.platforms.platform import load_platform

LISTED = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[3] / "docs" / "models.md"
PLATFORM = load_platform("htg-z920")

#: Where a value is not within a test's own tolerance, it may be off by this many units in the last
#: place of the largest one: a sum is rounded by its terms, and a test's tolerance of 1e-7 to an
#: exact 0 is for no sum, nor 1e-3 for bfloat16.
ULPS = 8

#: Multiply-adds or elements of a case that is executed with everything on the PIM too.
PIM_WORK = 1 << 16

#: Reasons of refusals, and what the message of each says.
REASONS = {
    "it draws random numbers": r"draws random numbers",
    "ONNX Runtime has no such operator, or not for the type": r"Could not find an implementation"
    r"|Failed to find kernel|is not a registered function/op|Type Error: Type 'tensor",
    "ONNX Runtime lacks this form of the operator": r"Batchwise recurrent operations|"
    r"Non per-tensor quantization|not defined for empty set|should be scalars"
    r"|fmod attribute must be true",
    "ONNX Runtime computes something else than ONNX says": r"aligns the corners|counts indices",
}


@dataclass(frozen=True)
class Case:
    """One test: a model and sets of inputs and expected outputs by name."""

    name: str
    model: onnx.ModelProto
    sets: list[tuple[dict[str, Array], dict[str, Array]]]
    rtol: float
    atol: float


@dataclass(frozen=True)
class Outcome:
    """What came out: `right`, `rounded` (right within `ULPS`), `refused` or `wrong`."""

    kind: str
    detail: str = ""


@cache
def cases() -> list[Case]:
    """Return the node tests whose inputs and outputs are tensors of numbers or booleans."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = load_model_tests(kind="node")
    return [_case(test) for test in loaded if _is_numeric(test.model)]


def _is_numeric(model: onnx.ModelProto) -> bool:
    return all(
        value.type.WhichOneof("value") == "tensor_type"
        and value.type.tensor_type.elem_type != TensorProto.STRING
        for value in (*model.graph.input, *model.graph.output)
    )


def _case(test: Any) -> Case:
    graph = test.model.graph
    sets = [(_named(graph.input, given), _named(graph.output, wanted))
            for given, wanted in test.data_sets]  # fmt: skip
    return Case(test.name, test.model, sets, test.rtol, test.atol)


def _named(values: Any, arrays: Any) -> dict[str, Array]:
    named = {}
    for value, array in zip(values, arrays, strict=True):
        array = numpy_helper.to_array(array) if isinstance(array, TensorProto) else array
        named[value.name] = np.asarray(array)
    return named


def outcome(case: Case, folder: Path) -> Outcome:
    """Load a test's model as a file and execute it on its inputs, as `pimloop run` does."""
    path = folder / f"{case.name}.onnx"
    path.write_bytes(case.model.SerializeToString())
    worst = Outcome("right")
    try:
        for feeds, wanted in case.sets:
            graph = load_model(str(path), LoadOptions(given=feeds))
            check_inputs(graph, feeds, "inputs")
            for result in _executions(graph, feeds):
                if "pim" in result.assignment.values():
                    # Inputs made for float32 may lose all their digits in bfloat16: of what is
                    # computed there each operator is checked, not what it amounts to in the end.
                    errors = result.operator_errors
                    if not result.pim_bit_exact or max(errors.values()) > OPERATOR_LIMIT:
                        return Outcome("wrong", f"PIM: {result.mismatches} {errors}")
                elif not result.passed:
                    return Outcome("wrong", f"verification: {result.comparisons}")
                else:
                    outputs = {**result.outputs, **_states(graph, feeds)}
                    compared = _compare(case, outputs, wanted)
                    worst = max(worst, compared, key=lambda candidate: _WORSE[candidate.kind])
    except PimloopError as error:
        return Outcome("refused", str(error))
    return worst


_WORSE = {"right": 0, "rounded": 1, "wrong": 2}


def _executions(graph: Graph, feeds: Mapping[str, Array]) -> Iterator[Result]:
    """Yield the execution on the CPU and, where that is small, with all that can be on the PIM."""
    for policy in ("cpu_serial", "pim_first"):
        assignment = POLICIES[policy](graph, PLATFORM.capabilities)
        if policy == "cpu_serial" or (
            "pim" in assignment.values()
            and sum(info.elements for info in graph.tensors.values()) < PIM_WORK
        ):
            yield execute_model(
                graph, feeds, assignment, PLATFORM, Options(backend="model", jobs=1)
            )


def _states(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return the states after an execution, no outputs any more: what was there, and new rows."""
    if not graph.states:
        return {}
    values = run_reference(graph, feeds, outputs=tuple(state.rows for state in graph.states))
    return {
        state.whole: np.concatenate([feeds[state.past], values[state.rows]], axis=-2)
        for state in graph.states
    }


def _compare(case: Case, outputs: Mapping[str, Array], wanted: Mapping[str, Array]) -> Outcome:
    worst = Outcome("right")
    for name, right in wanted.items():
        got = outputs[name]
        if got.shape != right.shape or got.dtype != right.dtype:
            return Outcome(
                "wrong", f"{name}: {got.dtype}{got.shape}, not {right.dtype}{right.shape}"
            )
        if not is_plain(right.dtype):
            got, right = got.astype(np.float64), right.astype(np.float64)
        if np.allclose(got, right, case.rtol, case.atol, equal_nan=True):
            continue
        kind = outputs[name].dtype
        if kind.kind not in "fV":
            return Outcome("wrong", f"{name}: {got} instead of {right}")
        finite = right[np.isfinite(right)]
        step = float(ml_dtypes.finfo(kind).eps) * float(np.abs(finite).max(initial=0))
        if not np.allclose(got, right, case.rtol, ULPS * step, equal_nan=True):
            return Outcome("wrong", f"{name}: {got} instead of {right}")
        worst = Outcome("rounded")
    return worst


def reason_of(message: str) -> str | None:
    """Return the reason in `REASONS` of a refusal; None when it is none of them."""
    return next((reason for reason, text in REASONS.items() if re.search(text, message)), None)


def operator_of(message: str) -> str:
    """Return the operator that a refusal names."""
    match = re.search(r"\((\w+)\) of model|running (\w+) node", message)
    assert match, message
    return str(match[1] or match[2])


def listed() -> dict[str, Any]:
    """Return what `onnx_backend.json` says."""
    content: dict[str, Any] = json.loads(LISTED.read_text(encoding="utf-8"))
    return content


def refusals(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the reason of each test that is listed as refused."""
    return {
        name: reason
        for reason, operators in content["refused"].items()
        for names in operators.values()
        for name in names
    }


def run_all() -> dict[str, Any]:
    """Return the content of `onnx_backend.json`: counts, and names by what came out of them."""
    refused: dict[str, dict[str, list[str]]] = {reason: {} for reason in REASONS}
    rounded = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            result = outcome(case, Path(folder))
            if result.kind == "refused":
                by_operator = refused[reason_of(result.detail) or result.detail]
                by_operator.setdefault(operator_of(result.detail), []).append(case.name)
            elif result.kind == "rounded":
                rounded.append(case.name)
            elif result.kind == "wrong":
                raise SystemExit(f"{case.name} is wrong: {result.detail}")
    return {"onnx": onnx.__version__, "tests": len(cases()), "refused": refused, "rounded": rounded}


def table(content: Mapping[str, Any]) -> str:
    """Return the text of docs/models.md on what is listed."""
    count = len(refusals(content))
    total, rounded = content["tests"], len(content["rounded"])
    lines = [
        f"Of the {total:,} node tests of onnx {content['onnx']} with numeric tensors"
        f" {total - count:,} are right, {count} ({count / total:.1%}) are refused and none is",
        f"wrong. {rounded} of the right ones, sums and bfloat16, are within {ULPS} units in the",
        "last place of their largest value, the others within the test's own tolerance.",
        "",
        "| refused because | tests | of which operator |",
        "|---|---|---|",
    ]
    for reason, operators in content["refused"].items():
        counts = [f"{name} {len(tests)}" for name, tests in sorted(operators.items())]
        number = sum(len(tests) for tests in operators.values())
        lines.append(f"| {reason} | {number} | {', '.join(counts)} |")
    return "\n".join(lines)


#: Between these lines docs/models.md has the table.
FENCES = ("<!-- onnx backend tests: python tests/host/models/onnx_backend.py -->", "<!-- end -->")


def page_with(text: str, page: str) -> str:
    """Return the page with `text` between the fences."""
    start = page.index(FENCES[0]) + len(FENCES[0])
    return f"{page[:start]}\n{text}\n{page[page.index(FENCES[1], start) :]}"


if __name__ == "__main__":
    made = run_all()
    LISTED.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page_with(table(made), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
