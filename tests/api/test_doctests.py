"""The examples in the docstrings of the public interface run as they stand, in the root of the repository."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import nearsight
from nearsight import api

MODULES = ["nearsight", *(f"nearsight.api.{module.name}" for module in pkgutil.iter_modules(api.__path__))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(import_module(name), optionflags=flags).failed == 0


def test_public_names_are_there_and_described() -> None:
    for name in nearsight.__all__:
        assert (getattr(nearsight, name).__doc__ or "").strip(), name
    assert set(nearsight.__all__) <= set(dir(nearsight))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nearsight.nothing  # noqa: B018
