"""Overlap products against the same sums written with matrices."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.baselines.h0 import on_site as module
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.h0.on_site import PER_ELEMENT, overlap_products
from nearsight.structures.graph import build_graph
from nearsight.units import HARTREE_IN_EV
from tests.baselines.random_baseline import CUTOFF, LAYOUT
from tests.baselines.random_h0 import random_h0_calculation


@pytest.mark.parametrize("chunk", [8192, 5])
@pytest.mark.parametrize("n_units", [1, 4])
def test_products_are_sums_over_neighbours(n_units: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images count one by one, an atom's own too."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    calculation = random_h0_calculation(6, n_units)
    structure, h0 = calculation.structure, H0Matrices.of(calculation)
    graph = build_graph(structure, CUTOFF)
    rng = np.random.default_rng(0)
    change = np.zeros((len(structure), LAYOUT.size))
    for z in (8, 72):
        atoms = np.flatnonzero(structure.numbers == z)
        block = rng.standard_normal((len(atoms), *(LAYOUT.basis.n_orbitals(z),) * 2))
        change[atoms] = LAYOUT.couple(block + block.transpose(0, 2, 1), z, z)
    found = overlap_products(structure, graph, CUTOFF, LAYOUT, h0, change)
    for i, zi in enumerate(structure.numbers):
        expected = np.zeros((2, PER_ELEMENT, *(LAYOUT.basis.n_orbitals(int(zi)),) * 2))
        for e in np.flatnonzero(graph.source == i):
            k, shift = int(graph.target[e]), tuple(graph.shift[e])
            s = h0.overlap.block(i, k, shift)
            h = h0.hamiltonian.block(i, k, shift) / HARTREE_IN_EV
            zk = int(structure.numbers[k])
            d = LAYOUT.uncouple(change[[k]], zk, zk)[0]
            expected[int(zk == 72)] += np.stack([s @ d @ s.T, (h @ s.T + s @ h.T) / 2, s @ s.T])
        blocks = LAYOUT.uncouple(found[i], int(zi), int(zi)).reshape(expected.shape)
        np.testing.assert_allclose(blocks, expected, atol=1e-12)


def test_neighbours_beyond_the_cutoff_do_not_count() -> None:
    calculation = random_h0_calculation(6, 4)
    structure, h0 = calculation.structure, H0Matrices.of(calculation)
    change = np.random.default_rng(0).standard_normal((len(structure), LAYOUT.size))
    graphs = [build_graph(structure, cutoff) for cutoff in (3.0, CUTOFF)]
    near, all_edges = (overlap_products(structure, graph, 3.0, LAYOUT, h0, change) for graph in graphs)
    np.testing.assert_allclose(near, all_edges, atol=1e-12)
    assert np.abs(overlap_products(structure, graphs[1], CUTOFF, LAYOUT, h0, change) - near).max() > 1e-6
