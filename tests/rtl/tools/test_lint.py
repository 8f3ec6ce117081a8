"""The lint sees what it is there for, and has nothing to say about the device."""

import pytest

pytest.importorskip("pyslang", reason="pip install pyslang")

from pimloop.rtl.tools import lint

BODIES = {
    "comparison of different signs": "assign y = $signed(a) < b;",
    "implicit narrowing": "assign z = {a, b};",
    "implicit change of sign": "logic signed [7:0] s; assign s = a; assign y = s[7];",
}
MODULE = """module bad (
  input logic [7:0] a, input logic [7:0] b, output logic y, output logic [7:0] z);
  {body}
endmodule
"""


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_fault_is_seen(body, tmp_path, capfd):
    source = tmp_path / "bad.sv"
    source.write_text(MODULE.format(body=body), encoding="utf-8")
    assert lint.slang({}, [source], "bad") > 0
    assert "bad.sv" in capfd.readouterr().err


@pytest.mark.parametrize("native", [0, 1])
@pytest.mark.parametrize("variant", lint.VARIANTS)
def test_device_is_clean(variant, native):
    assert lint.slang(lint.VARIANTS[variant] | {"NativeLanes": native}) == 0
