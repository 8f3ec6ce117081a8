"""What states the programming interface is generated from rtl/isa.toml and up to date."""

from __future__ import annotations

import re

import pytest

from pimloop.rtl import generate, isa


@pytest.mark.parametrize("path", generate.outputs(), ids=lambda path: path.name)
def test_generated_file_is_up_to_date(path: generate.Path) -> None:
    assert path.read_text(encoding="utf-8") == generate.outputs()[path], (
        f"{path.name} is out of date: run `python -m pimloop.rtl.generate`"
    )


def test_layouts_fit_their_words() -> None:
    source = generate.load()
    assert isa.DESCRIPTOR.itemsize == isa.RECORD.itemsize == isa.DESCRIPTOR_BYTES
    assert [word["word"] for word in source["descriptor"]] == list(range(16))
    offsets = [register["offset"] for register in source["register"]]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 for offset in offsets)


def test_readme_names_every_code() -> None:
    page = (generate.HERE / "README.md").read_text(encoding="utf-8")
    for code in isa.Code:
        assert re.search(rf"\| 0x{code.value:02X} \| {code.name} \|", page)
