"""Files of other codes that tests look at where the environment variable NEARSIGHT_SAMPLES names their folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nearsight.checks.linter import check_calculation
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation

FOLDER = os.environ.get("NEARSIGHT_SAMPLES")
needs_samples = pytest.mark.skipif(FOLDER is None, reason="NEARSIGHT_SAMPLES names no folder")


def sample(name: str) -> Calculation:
    """One of them."""
    assert FOLDER is not None
    return read_any(Path(FOLDER) / name)


def path_of(name: str) -> Path:
    """Where one lies."""
    assert FOLDER is not None
    return Path(FOLDER) / name


def levels(calculation: Calculation, k: np.ndarray) -> np.ndarray:
    """(k, n) levels in eV at reciprocal coordinates, by dense diagonalisation."""
    from scipy.linalg import eigh

    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    return np.array([eigh(bloch(h, q).toarray(), bloch(s, q).toarray(), eigvals_only=True) for q in k])


def largest_difference(one: BlockOperator, other: BlockOperator) -> float:
    """max |A − B|, where a pair that is not stored is zero."""
    there = other.on_pairs(one.source, one.target, one.shift)
    back = one.on_pairs(other.source, other.target, other.shift)
    return max(float(np.abs(there.values - one.values).max()), float(np.abs(back.values - other.values).max()))


def assert_orders_are_ours(calculation: Calculation) -> None:
    """The linter finds every shell in our order, in S and in H."""
    found = [f for f in check_calculation(calculation, quick=True) if f.check == "orbital order"]
    assert found == []
