"""Errors of atoms add up to those of the whole."""

from __future__ import annotations

import numpy as np

from nearsight.electronic.matrix_errors import atom_errors, expected_errors, matrix_errors
from tests.learning.random_calculation import random_calculation


def test_they_are_the_parts_of_the_paper_s_errors():
    exact = random_calculation(folded=False)
    h = exact.hamiltonian
    noise = np.random.default_rng(3).standard_normal(h.n_values)
    predicted = h.with_values(h.values + 0.1 * noise)
    on_site, between = atom_errors(predicted, h)
    whole = matrix_errors(predicted, h, exact.structure)
    for errors, chosen, mean in ((on_site, h.on_site, whole.eps_n), (between, ~h.on_site, whole.eps_e)):
        weights = np.bincount(h.source[chosen], h.lengths[chosen], h.n_atoms)
        np.testing.assert_allclose((errors * weights).sum() / weights.sum(), mean, rtol=1e-10)


def test_one_wrong_block_belongs_to_its_atom():
    h = random_calculation(folded=False).hamiltonian
    values = h.values.copy()
    place = int(np.flatnonzero(h.on_site & (h.source == 7))[0])
    values[h.offsets[place] : h.offsets[place + 1]] += 0.5
    on_site, between = atom_errors(h.with_values(values), h)
    assert np.flatnonzero(on_site > 1e-12).tolist() == [7]
    np.testing.assert_allclose(on_site[7], 0.5)
    assert np.nanmax(between) == 0


def test_expected_errors_are_root_mean_squares():
    h = random_calculation(folded=False).hamiltonian
    np.testing.assert_allclose(expected_errors(h, np.full(h.n_pairs, 0.2)), 0.2)
