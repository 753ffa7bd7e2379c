"""On-site regressions: symmetric blocks, and how far an atom sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearsight.baselines.fit import fit_baseline
from nearsight.operators.calculation import Calculation
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, operator_of, random_baseline, random_calculation
from tests.random_cases import HFO2_SZV


def test_blocks_are_symmetric() -> None:
    baseline, structure = random_baseline(), random_calculation(3).structure
    nodes = baseline.nodes(structure, build_graph(structure, CUTOFF))
    assert np.array_equal(nodes[:, baseline.table.exchanged_columns], nodes)
    for z in (8, 72):
        blocks = LAYOUT.uncouple(nodes[structure.numbers == z], z, z)
        assert np.abs(blocks).max() > 1e-3
        np.testing.assert_allclose(blocks, blocks.transpose(0, 2, 1), atol=1e-14)


@pytest.mark.parametrize("strictly_local", [True, False])
def test_how_far_an_atom_sees(strictly_local: bool) -> None:
    """A chain with steps of 3 Å and a cutoff of 4 Å: the second neighbour is two hops away, the third too far."""
    baseline = fit_baseline([random_calculation(1)], LAYOUT, CUTOFF, replace(SMALL, strictly_local=strictly_local))
    chain = Structure([72, 8, 72, 8], [[0.0, 0, 3.0 * k] for k in range(4)], np.zeros((3, 3)), False)
    before = baseline.nodes(chain, build_graph(chain, CUTOFF))[0]
    changes = []
    for moved in (1, 2, 3):
        shift = np.zeros((4, 3))
        shift[moved, 1] = 0.2
        other = chain.translated(shift)
        changes.append(np.abs(baseline.nodes(other, build_graph(other, CUTOFF))[0] - before).max())
    assert changes[0] > 1e-6
    assert changes[1] == 0 if strictly_local else changes[1] > 1e-6
    assert changes[2] == 0


def test_on_site_blocks_that_follow_from_densities_are_recovered() -> None:
    """H made by one baseline is what another, fitted to it with next to no penalty, says."""
    teacher, structures = random_baseline(), [random_calculation(seed, 30).structure for seed in (11, 12, 13)]
    graphs = [build_graph(structure, CUTOFF) for structure in structures]
    made = [Calculation(s, HFO2_SZV, operator_of(teacher, s, g)) for s, g in zip(structures, graphs)]
    pupil = fit_baseline(made, LAYOUT, CUTOFF, replace(SMALL, scalar_ridge=1e-12, tensor_ridge=1e-12))
    unseen = random_calculation(14).structure
    graph = build_graph(unseen, CUTOFF)
    expected = teacher.nodes(unseen, graph)
    np.testing.assert_allclose(pupil.nodes(unseen, graph), expected, atol=1e-6 * np.abs(expected).max())


def test_the_only_atom_of_an_element_can_be_fitted() -> None:
    """And its scale is that of its own block: without it nothing would be known."""
    structure = Structure([72, 8, 8], [[0.0, 0, 0], [2.1, 0, 0], [0, 2.2, 0]], np.zeros((3, 3)), False)
    graph = build_graph(structure, CUTOFF)
    made = Calculation(structure, HFO2_SZV, operator_of(random_baseline(), structure, graph))
    baseline = fit_baseline([made], LAYOUT, CUTOFF, SMALL)
    scalars = np.flatnonzero((baseline.table.degree == 0) & baseline.table.filled(72, 72))
    block = np.abs(random_baseline().nodes(structure, graph)[0, baseline.table.start[scalars]])
    np.testing.assert_allclose(baseline.node_scales[72][scalars], block, atol=1e-6)
    assert baseline.elements == (8, 72)
