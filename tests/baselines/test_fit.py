"""Fitting: what of a folded reference is used, order of the data, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.reference import Reference
from nearsight.baselines.settings import BaselineSettings
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.progress import Event
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, operator_of, random_baseline, random_calculation
from tests.random_cases import HFO2_SZV


def test_the_order_of_the_structures_does_not_matter() -> None:
    a, b = random_calculation(1), random_calculation(2)
    one, other = (fit_baseline(order, LAYOUT, CUTOFF, SMALL) for order in ([a, b], [b, a]))
    structure = random_calculation(3).structure
    graph = build_graph(structure, CUTOFF)
    np.testing.assert_allclose(one.nodes(structure, graph), other.nodes(structure, graph), atol=1e-8)
    np.testing.assert_allclose(one.edges(structure, graph), other.edges(structure, graph), atol=1e-10)


def test_progress_is_told() -> None:
    events: list[Event] = []
    fit_baseline([random_calculation(1)], LAYOUT, CUTOFF, SMALL, progress=events.append)
    assert [event.done for event in events] == [0, 1, 2, 3]
    assert all(event.message.startswith("baseline: ") for event in events[:3])


def test_only_pairs_with_one_image_are_used_of_a_folded_reference() -> None:
    calculation = random_calculation(1, n_units=3)
    operator = calculation.require_hamiltonian()
    whole = Reference.of(calculation, LAYOUT, CUTOFF)
    folded = Reference.of(Calculation(calculation.structure, HFO2_SZV, fold(operator)), LAYOUT, CUTOFF)
    graph, seen = whole.graph, 0
    images = np.zeros((graph.n_nodes,) * 2, dtype=int)
    np.add.at(images, (graph.source, graph.target), 1)
    known = {pair: dict(zip(edges.tolist(), blocks)) for pair, edges, blocks in whole.edges()}
    for pair, edges, blocks in folded.edges():
        assert (images[graph.source[edges], graph.target[edges]] == 1).all()
        np.testing.assert_allclose(blocks, [known[pair][e] for e in edges], atol=1e-14)
        seen += len(edges)
    assert 0 < seen < sum(map(len, known.values()))


def test_atoms_that_see_their_own_image_are_not_used_of_a_folded_reference() -> None:
    cell = np.diag([3.5, 20.0, 20.0])
    structure = Structure([72, 8], [[0.0, 0, 0], [0.0, 2.0, 0]], cell, True)
    operator = operator_of(random_baseline(), structure, build_graph(structure, CUTOFF))
    folded = Calculation(structure, HFO2_SZV, fold(operator))
    assert len(Reference.of(folded, LAYOUT, CUTOFF).on_site(72)[0]) == 0
    assert len(Reference.of(Calculation(structure, HFO2_SZV, operator), LAYOUT, CUTOFF).on_site(72)[0]) == 1
    with pytest.raises(InputError, match="expected atoms without an image of their own"):
        fit_baseline([folded], LAYOUT, CUTOFF, SMALL)


def test_node_scales_say_what_is_left_of_atoms_that_were_not_fitted() -> None:
    """Random blocks cannot be learnt: the scale is their r.m.s. or a little more, not the smaller one of the fit."""
    calculations = [random_calculation(seed) for seed in range(4)]
    baseline = fit_baseline(calculations, LAYOUT, CUTOFF, replace(SMALL, scalar_ridge=1e-6))
    table = baseline.table
    scalars = np.flatnonzero((table.degree == 0) & table.filled(8, 8))
    fitted, unseen = [], []
    for seeds, errors in ((range(4), fitted), (range(20, 28), unseen)):
        for seed in seeds:
            reference = Reference.of(random_calculation(seed), LAYOUT, CUTOFF)
            atoms, blocks = reference.on_site(8)
            error = blocks - baseline.nodes(reference.structure, reference.graph)[atoms]
            errors.append((error[:, table.start[scalars]] ** 2).mean())
    scale = np.sqrt((baseline.node_scales[8][scalars] ** 2).mean())
    assert np.sqrt(np.mean(fitted)) < 0.9 * scale
    assert np.sqrt(np.mean(unseen)) == pytest.approx(scale, rel=0.15)


def test_a_pair_of_elements_that_was_not_fitted_is_refused() -> None:
    apart = Structure([72, 8, 8], [[0.0, 0, 0], [2.1, 0, 0], [9.0, 0, 0]], np.zeros((3, 3)), False)
    operator = operator_of(random_baseline(), apart, build_graph(apart, CUTOFF))
    baseline = fit_baseline([Calculation(apart, HFO2_SZV, operator)], LAYOUT, CUTOFF, SMALL)
    near = Structure([8, 8], [[0.0, 0, 0], [2.5, 0, 0]], np.zeros((3, 3)), False)
    graph = build_graph(near, CUTOFF)
    with pytest.raises(InputError, match=r"expected pairs of elements .*\(O-Hf\), got O-O; .* within 4\.0 Å"):
        baseline.edges(near, graph)
    assert baseline.nodes(near, graph).shape == (2, LAYOUT.size)


def test_what_cannot_be_fitted_is_refused() -> None:
    calculation = random_calculation(1)
    with pytest.raises(InputError, match="expected at least one calculation"):
        fit_baseline([], LAYOUT, CUTOFF)
    with pytest.raises(InputError, match="expected a Hamiltonian"):
        fit_baseline([Calculation(calculation.structure, HFO2_SZV)], LAYOUT, CUTOFF)
    with pytest.raises(InputError, match="got none for Hf"):
        fit_baseline([calculation], CoupledLayout(HFO2_SZV.restricted([8])), CUTOFF)
    with pytest.raises(InputError, match="expected calculations in the layout's basis"):
        fit_baseline([calculation], CoupledLayout(BasisSet("other", {8: (0,), 72: (0,)}, {})), CUTOFF)
    with pytest.raises(InputError, match="expected positive numbers of functions"):
        BaselineSettings(hop_functions=0)
