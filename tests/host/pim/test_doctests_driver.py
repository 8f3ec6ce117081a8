"""The examples in the docstrings of driver, devices and platforms hold."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "pimloop.host.pim.driver.broadcast",
        "pimloop.host.pim.driver.layout",
        "pimloop.host.platforms.platform",
        "support.exact",
    ],
)
def test_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
