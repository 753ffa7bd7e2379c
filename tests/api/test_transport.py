"""The example of `nearsight.api.transport` runs on the shipped junction."""

from __future__ import annotations

import doctest

import nearsight.api.transport as module


def test_examples() -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
