"""Leaving out what is small."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.reduction import pruned, rounded
from nearsight.operators.symmetry import hermiticity_error


def test_small_elements_vanish_and_blocks_of_zeros_with_them(hamiltonian: BlockOperator) -> None:
    values = hamiltonian.values.copy()
    values[hamiltonian.flat_index(np.flatnonzero(hamiltonian.shift[:, 0] != 0))] *= 1e-9
    thinned = hamiltonian.with_values(values)
    threshold = 1e-3
    result = pruned(thinned, threshold)
    assert 0 < result.n_pairs < hamiltonian.n_pairs
    assert np.abs(result.values[result.values != 0]).min() >= threshold
    assert all(np.any(block) for block in np.split(result.values, result.offsets[1:-1]))
    assert hermiticity_error(result) == 0
    difference = np.abs((to_csr(result) - to_csr(thinned)).toarray())
    assert 0 < difference.max() < 10 * threshold


def test_threshold_zero_keeps_every_number(hamiltonian: BlockOperator) -> None:
    np.testing.assert_array_equal(pruned(hamiltonian, 0.0).values, hamiltonian.values)
    with pytest.raises(InputError, match="expected a threshold of at least 0, got -1"):
        pruned(hamiltonian, -1.0)


def test_rounding_is_to_powers_of_two_and_keeps_symmetry(hamiltonian: BlockOperator) -> None:
    result = rounded(hamiltonian, 0.03)
    np.testing.assert_array_equal(result.values * 64, np.round(hamiltonian.values * 64))
    assert np.abs(result.values - hamiltonian.values).max() <= 1 / 128
    assert hermiticity_error(result) == 0
    with pytest.raises(InputError, match="expected a positive step, got 0"):
        rounded(hamiltonian, 0.0)
