"""The examples in the docstrings of the physics."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = ("electronic.eigen", "electronic.filling", "electronic.spectrum", "electrostatics.potential")


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    found = doctest.testmod(import_module(f"nearsight.{name}"))
    assert found.failed == 0
    assert found.attempted > 0
