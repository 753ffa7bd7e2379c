"""Decay, cutoffs and responses: closed forms, and real CP2K matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.electronic.eigen import solve
from nearsight.electronic.locality import decay, response, spectra_by_cutoff, truncated
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from tests.electronic.small_models import chain_calculation

DATA = Path(__file__).parents[2] / "data"
CHANGES = ("displaced", "vacancy", "substituted")


@pytest.fixture(scope="module")
def oxide() -> Calculation:
    return read_calculation(DATA / "aHfO1.8_96_train.h5")


def test_decay_of_a_chain():
    found = decay(chain_calculation(6, -2.0, -0.7, 0.2).hamiltonian, chain_calculation(6, -2.0, -0.7, 0.2).structure)
    np.testing.assert_allclose(found.distance, 1.0)
    np.testing.assert_allclose(found.largest, 0.7)
    np.testing.assert_allclose(found.on_site, 2.0)
    edges, counts = found.frequency(0.4)
    assert counts.sum() == 12
    assert counts[np.searchsorted(edges, 1.0, side="right") - 1] == 12


def test_real_blocks_decay(oxide):
    """Each 2 Å farther the largest block of a bin is smaller, over four orders of magnitude."""
    found = decay(oxide.hamiltonian, oxide.structure)
    middle, median, largest = found.envelope(2.0)
    chosen = middle > 2.0
    assert np.all(np.diff(largest[chosen]) < 0)
    assert largest[chosen][0] / largest[chosen][-1] > 1e4
    assert np.all(median <= largest)
    assert found.frequency()[1].sum() == found.elements.sum()


def test_levels_come_closer_with_the_cutoff(oxide):
    """Monotonically, and at infinity they are those of the whole H (paper, Fig. 9)."""
    spectra = spectra_by_cutoff(oxide, [4.0, 6.0, 8.0, np.inf])
    whole = solve(oxide.hamiltonian, oxide.overlap, spectra[0].n_electrons).eigenvalues
    np.testing.assert_allclose(spectra[-1].eigenvalues, whole, atol=1e-10)
    change = [np.abs(s.eigenvalues - whole)[: s.n_filled].mean() for s in spectra[:-1]]
    assert change[0] > 5 * change[1] > 25 * change[2] > 0
    assert change[2] < 2e-3


def test_a_cutoff_keeps_on_site_blocks(oxide):
    found = truncated(oxide.hamiltonian, oxide.structure, 0.1)
    assert found.n_pairs == len(oxide.structure)
    with pytest.raises(InputError, match="cutoff above 0"):
        truncated(oxide.hamiltonian, oxide.structure, 0.0)


@pytest.mark.parametrize("change", CHANGES)
def test_the_response_decays(change):
    """CP2K's runs of one changed atom: its neighbours feel it ten times as much as atoms beyond 6.5 Å."""
    found = response(
        read_calculation(DATA / "response" / "unchanged.h5"), read_calculation(DATA / "response" / f"{change}.h5")
    )
    near, far = found.distance < 3.0, found.distance > 6.5
    assert near.sum() > 3
    assert far.sum() > 10
    assert found.aligned[near].mean() > 10 * found.aligned[far].mean()
    assert found.site not in found.atoms


def test_a_shift_of_the_zero_is_taken_out():
    """H' = H + c: every block changes by c on its diagonal, and nothing is left after alignment."""
    calculation = read_calculation(DATA / "response" / "unchanged.h5")
    h = calculation.hamiltonian
    values = h.values.copy()
    for pair in np.flatnonzero(h.on_site):
        n = int(np.sqrt(h.lengths[pair]))
        values[h.offsets[pair] : h.offsets[pair + 1]] += 0.3 * np.eye(n).ravel()
    positions = calculation.structure.positions.copy()
    positions[5, 0] += 0.1
    moved = replace(
        calculation, hamiltonian=h.with_values(values), structure=replace(calculation.structure, positions=positions)
    )
    found = response(calculation, moved)
    assert found.site == 5
    assert found.shift == pytest.approx(0.3)
    np.testing.assert_allclose(found.aligned, 0, atol=1e-9)
    np.testing.assert_allclose(found.error, [0.3 / np.sqrt(h.lengths[k]) for k in found.atoms], atol=1e-9)


def test_what_has_no_response(oxide):
    calculation = chain_calculation(6, -2.0, -0.7, 0.2)
    with pytest.raises(InputError, match="one atom that was moved or replaced, got 0"):
        response(calculation, calculation)
    with pytest.raises(InputError, match="same number of atoms"):
        response(calculation, oxide)
