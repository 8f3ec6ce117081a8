"""The line of a tool's output that an error shows."""

import doctest

import pytest

from pimloop.sim.verilator import steps


@pytest.mark.parametrize(
    ("output", "first"),
    [
        ("%Warning-W: a.sv:1\n%Error: Exiting due to 1 warning(s)\n", "%Warning-W: a.sv:1"),
        ("a.cpp:1: error: no such thing\nmake: *** [x] Error 1\n", "a.cpp:1: error: no such thing"),
        (
            "a.cpp:1:10: fatal error: lz4.h: No such file\n",
            "a.cpp:1:10: fatal error: lz4.h: No such file",
        ),
        ("all is well\n", "no error line in the log"),
    ],
)
def test_first_error(output, first):
    assert steps.first_error(output) == first


def test_doctests():
    results = doctest.testmod(steps)
    assert results.attempted > 0
    assert results.failed == 0
