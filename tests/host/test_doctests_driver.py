"""The examples in the docstrings of driver, devices and platforms hold."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "pimloop.host.driver.broadcast",
        "pimloop.host.driver.layout",
        "pimloop.host.platform",
        "pimloop.host.testing.exact",
    ],
)
def test_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
