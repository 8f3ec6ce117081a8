"""The patches fit the RTL, and one that does not is refused with its name and place."""

import pytest
from mutants import MUTANTS, MutantError, description, mutated, patches

from pimloop.sim.device.config import rtl_sources

KINDS = sorted(folder.name for folder in MUTANTS.iterdir() if any(folder.glob("*.patch")))

GOOD = """\
A comment changes.
--- a/rtl/pim_fifo.sv
+++ b/rtl/pim_fifo.sv
@@ -1,2 +1,2 @@
 module pim_fifo #(
-{line}
+  // another
"""


def second_line() -> str:
    text = (MUTANTS.parents[1] / "rtl" / "pim_fifo.sv").read_text(encoding="utf-8")
    return text.split("module pim_fifo #(\n")[1].splitlines()[0]


@pytest.mark.parametrize(
    "patch", [p for kind in KINDS for p in patches(kind)], ids=lambda p: p.stem
)
def test_every_patch_fits_the_rtl(patch, tmp_path):
    sources = rtl_sources()
    changed = [path for path in mutated(patch, sources, tmp_path) if path not in sources]
    assert changed
    assert description(patch)


def test_only_the_named_lines_change(tmp_path):
    patch = tmp_path / "one.patch"
    patch.write_text(GOOD.replace("{line}", second_line()), encoding="utf-8")
    sources = rtl_sources()
    result = mutated(patch, sources, tmp_path / "copy")
    differing = [pair for pair in zip(sources, result, strict=True) if pair[0] != pair[1]]
    assert [old.name for old, _ in differing] == ["pim_fifo.sv"]
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in differing[0])
    assert [pair for pair in zip(old, new, strict=True) if pair[0] != pair[1]] == [
        (second_line(), "  // another")
    ]
    assert description(patch) == "A comment changes."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD.replace("{line}", "  // nowhere"),
            r"bad.patch: hunk 1 fits 0 places of rtl/pim_fifo",
        ),
        ("no patch at all\n", "bad.patch is no unified patch"),
        (GOOD.replace("pim_fifo.sv", "nothing.sv"), "cannot read rtl/nothing.sv"),
        (GOOD.replace("-{line}", "*{line}"), "not a line of a unified patch"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused(text, message, tmp_path):
    patch = tmp_path / "bad.patch"
    patch.write_text(text, encoding="utf-8")
    with pytest.raises(MutantError, match=message):
        mutated(patch, rtl_sources(), tmp_path / "copy")


def test_a_patch_of_a_file_that_is_not_built_is_refused(tmp_path):
    patch = tmp_path / "one.patch"
    patch.write_text(GOOD.replace("{line}", second_line()), encoding="utf-8")
    with pytest.raises(MutantError, match=r"changes pim_fifo\.sv, which this build does not use"):
        mutated(patch, rtl_sources()[:2], tmp_path / "copy")
