"""The pages show what the commands print, and the numbers that the prose quotes are theirs."""

from __future__ import annotations

import doctest
import importlib.util
import sys

import pytest

from pimloop.sim.paths import REPOSITORY

_SPEC = importlib.util.spec_from_file_location("docs_outputs", REPOSITORY / "docs" / "outputs.py")
assert _SPEC is not None
assert _SPEC.loader is not None
outputs = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = outputs  # dataclasses look their module up
_SPEC.loader.exec_module(outputs)

BLOCKS = [block for page in outputs.pages() for block in outputs.blocks(page)]


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, marks=pytest.mark.full if b.full else (), id=str(b)) for b in BLOCKS],
)
def test_a_page_shows_what_the_command_prints(block):
    made = outputs.produce(block.command, block.options)
    assert outputs.comparable(made) == outputs.comparable(block.text)


def test_every_page_with_an_output_is_covered():
    """A fenced block that begins with a command is one that is made from it."""
    for page in outputs.pages():
        shown = page.read_text(encoding="utf-8").count("```\n$ pimloop")
        assert shown == len(outputs.blocks(page)), page


def test_only_what_differs_between_runs_is_left_out_of_a_comparison():
    text = "total 423,071 us, 16.71 Mcycles/s a simulator, 12.5 % of 42 transfers"
    assert outputs.comparable(text) == text.replace("16.71", "N")


def test_a_stale_block_is_written_again_and_a_fresh_one_left(tmp_path):
    page = tmp_path / "page.md"
    head = "Text.\n\n<!-- output: pimloop models -->\n```\n"
    page.write_text(f"{head}$ pimloop models\nold 1\n```\nMore.\n")
    assert outputs.rewrite(page, {"pimloop models": "$ pimloop models\nnew 2\n"})
    assert page.read_text() == f"{head}$ pimloop models\nnew 2\n```\nMore.\n"
    assert not outputs.rewrite(page, {"pimloop models": "$ pimloop models\nnew 2\n"})


def test_doctests():
    assert doctest.testmod(outputs).failed == 0


def test_a_part_of_an_output_is_shown(tmp_path):
    text = '<!-- output full width=60 from="a b" to="c": pimloop models -->\n```\n$ x\n```\n'
    page = tmp_path / "page.md"
    page.write_text(text)
    (block,) = outputs.blocks(page)
    assert block.full
    assert block.options == {"full": "", "width": "60", "from": "a b", "to": "c"}
    with pytest.raises(RuntimeError, match="no line begins with 'a b'"):
        outputs.produce(block.command, block.options)


def test_a_command_that_fails_says_why():
    with pytest.raises(RuntimeError, match="there is no platform 'nowhere'"):
        outputs.produce("pimloop platforms show nowhere")
