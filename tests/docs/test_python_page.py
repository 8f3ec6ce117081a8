"""docs/python.md is what `import pimloop` does, and plug-ins need nothing else."""

from __future__ import annotations

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pimloop

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, "python.md", "docs/python.md", 0)
    assert len(page.examples) > 15
    flags = doctest.IGNORE_EXCEPTION_DETAIL | doctest.REPORT_ONLY_FIRST_FAILURE
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=flags).run(page, out=report.append)
    assert failed == 0, "".join(report)


def test_what_is_exported_is_there_and_documented() -> None:
    for name in pimloop.__all__:
        value = getattr(pimloop, name)
        if name != "__version__":
            assert (value.__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pimloop.nothing  # noqa: B018


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """The server in the simulator imports this package too, and needs none of its libraries."""
    code = "import pimloop, sys; print([m for m in ('numpy', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("page", ["plugins.md", "python.md"])
def test_pages_for_users_import_the_public_interface_alone(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    imports = re.findall(r"^ {4}(?:>>> )?((?:from pimloop|import pimloop).*)$", text, re.MULTILINE)
    assert imports
    for line in imports:
        (node,) = ast.parse(line).body
        if isinstance(node, ast.ImportFrom):
            assert node.module == "pimloop"
            assert {alias.name for alias in node.names} <= set(pimloop.__all__)
        else:
            assert isinstance(node, ast.Import)
            assert [alias.name for alias in node.names] == ["pimloop"]


def test_inputs_without_a_type_are_read_as_the_command_reads_them(tmp_path: Path) -> None:
    """bfloat16 that numpy has saved as bytes."""
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.BFLOAT16, [2])], [value("y", TensorProto.BFLOAT16, [2])]
    )
    path = tmp_path / "g.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    x = np.array([1.0, -2.0], ml_dtypes.bfloat16)
    model = pimloop.load_model(path, inputs={"x": x.view("V2")})
    assert model.inputs["x"].dtype == ml_dtypes.bfloat16
    assert np.array_equal(model.inputs["x"], x)


def test_a_device_that_has_done_nothing_has_cost_nothing() -> None:
    with pimloop.Device("aim", "model") as device:
        assert (device.stats.cycles, device.stats.descriptors) == (0, 0)
        device.add(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32))
        assert device.stats.descriptors > 0
