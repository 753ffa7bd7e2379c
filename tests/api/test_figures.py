"""The paper's analysis figures, through the Python interface."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from nearsight.api import figures
from nearsight.errors import InputError

SILICON = Path("data/silicon_2.h5")


def test_examples() -> None:
    assert doctest.testmod(figures).failed == 0


@pytest.mark.parametrize(
    "analysis",
    [
        lambda: figures.level_comparison(SILICON, SILICON),
        lambda: figures.structure_comparison({"a": SILICON}, "Si-Si", 2.6),
        lambda: figures.decay_with_distance({"a": SILICON}),
        lambda: figures.levels_by_cutoff({"a": SILICON}, [5.0]),
    ],
)
def test_every_analysis_draws(analysis) -> None:
    assert analysis().draw().axes


def test_what_is_no_pair() -> None:
    with pytest.raises(InputError, match="two elements"):
        figures.structure_comparison({"a": SILICON}, "Si")
