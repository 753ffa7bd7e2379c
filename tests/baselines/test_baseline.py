"""The baseline as a whole: symmetries, choices of edges, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nearsight.baselines import baseline as module
from nearsight.errors import InputError
from nearsight.operators.symmetry import hermiticity_error, permute, rotate
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import CUTOFF, operator_of, random_baseline, random_calculation

BASELINE = random_baseline()
STRUCTURE = random_calculation(3).structure
GRAPH = build_graph(STRUCTURE, CUTOFF)


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, -1]))
def test_a_rotated_structure_has_the_rotated_hamiltonian(seed: int, sign: int) -> None:
    """Improper rotations and the inversion too."""
    rotation = sign * Rotation.random(random_state=seed).as_matrix()
    turned = STRUCTURE.rotated(rotation)
    expected = rotate(operator_of(BASELINE, STRUCTURE, GRAPH), rotation)
    found = operator_of(BASELINE, turned, build_graph(turned, CUTOFF))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-10)


def test_inversion() -> None:
    inverted = STRUCTURE.rotated(-np.eye(3))
    expected = rotate(operator_of(BASELINE, STRUCTURE, GRAPH), -np.eye(3))
    found = operator_of(BASELINE, inverted, build_graph(inverted, CUTOFF))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-10)


def test_translation_and_other_images_of_atoms(rng: np.random.Generator) -> None:
    moved = STRUCTURE.translated(rng.standard_normal(3))
    found = operator_of(BASELINE, moved, build_graph(moved, CUTOFF))
    np.testing.assert_allclose(found.values, operator_of(BASELINE, STRUCTURE, GRAPH).values, atol=1e-10)
    images = STRUCTURE.translated(rng.integers(-2, 3, (len(STRUCTURE), 3)) @ STRUCTURE.cell)
    nodes = BASELINE.nodes(images, build_graph(images, CUTOFF))
    np.testing.assert_allclose(nodes, BASELINE.nodes(STRUCTURE, GRAPH), atol=1e-10)


def test_permutation(rng: np.random.Generator) -> None:
    order = rng.permutation(len(STRUCTURE))
    permuted = STRUCTURE.permuted(order)
    expected = permute(operator_of(BASELINE, STRUCTURE, GRAPH), order)
    found = operator_of(BASELINE, permuted, build_graph(permuted, CUTOFF))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-10)


@pytest.mark.exact
@pytest.mark.parametrize("chunk", [8192, 7, 1])
def test_an_edge_and_its_reverse_are_transposes_to_the_last_bit(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a cell so small that atoms see their own images."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    tiny = random_calculation(4, n_units=1).structure
    for structure in (STRUCTURE, tiny):
        graph = build_graph(structure, CUTOFF)
        edges = BASELINE.edges(structure, graph)
        assert np.array_equal(edges[graph.reverse], edges[:, BASELINE.table.exchanged_columns])
        assert np.abs(edges).max() > 1e-2
        assert hermiticity_error(operator_of(BASELINE, structure, graph)) < 1e-14
    assert (graph.source == graph.target).any()


def test_edges_and_atoms_change_continuously(rng: np.random.Generator) -> None:
    """Also where pairs cross the cutoff: halving a displacement halves the change."""
    step = 1e-4 * rng.standard_normal((len(STRUCTURE), 3))
    reference = BASELINE.nodes(STRUCTURE, GRAPH)
    changes = []
    for factor in (1.0, 0.5):
        moved = STRUCTURE.translated(factor * step)
        changes.append(BASELINE.nodes(moved, build_graph(moved, CUTOFF)) - reference)
    np.testing.assert_allclose(changes[0], 2 * changes[1], atol=2e-3 * np.abs(changes[0]).max())


def test_edges_chosen_in_any_way_are_the_same(rng: np.random.Generator) -> None:
    whole = BASELINE.edges(STRUCTURE, GRAPH)
    order = rng.permutation(GRAPH.n_edges)
    choices = [slice(10, 50), slice(None, None, 3), order, order[:7], np.repeat(order[:5], 3), order < 20, [4, 1]]
    for chosen in choices:
        np.testing.assert_allclose(BASELINE.edges(STRUCTURE, GRAPH, chosen), whole[chosen], atol=1e-14)
    parts = np.array_split(order, 5)
    together = np.zeros_like(whole)
    for part in parts:
        together[part] += BASELINE.edges(STRUCTURE, GRAPH, part)
    np.testing.assert_allclose(together, whole, atol=1e-14)
    assert BASELINE.edges(STRUCTURE, GRAPH, slice(0, 0)).shape == (0, whole.shape[1])


def test_a_larger_graph_changes_nothing() -> None:
    larger = build_graph(STRUCTURE, CUTOFF + 0.5)
    np.testing.assert_allclose(BASELINE.nodes(STRUCTURE, larger), BASELINE.nodes(STRUCTURE, GRAPH), atol=1e-12)
    beyond = larger.distance >= CUTOFF
    assert beyond.any()
    assert not BASELINE.edges(STRUCTURE, larger, beyond).any()


def test_scales_of_atoms_are_those_of_their_elements() -> None:
    nodes = BASELINE.node_scale(STRUCTURE)
    for z in (8, 72):
        assert (nodes[STRUCTURE.numbers == z] == BASELINE.node_scales[z]).all()


def test_padding_stays_zero() -> None:
    edges = BASELINE.edges(STRUCTURE, GRAPH)
    zi, zj = STRUCTURE.numbers[GRAPH.source], STRUCTURE.numbers[GRAPH.target]
    for a in (8, 72):
        for b in (8, 72):
            assert not edges[(zi == a) & (zj == b)][:, ~BASELINE.layout.mask(a, b)].any()


def test_an_unknown_element_is_refused() -> None:
    other = Structure([8, 14], [[0.0, 0, 0], [1.6, 0, 0]], np.zeros((3, 3)), False)
    graph = build_graph(other, CUTOFF)
    for call in (BASELINE.nodes, BASELINE.edges, lambda s, g: BASELINE.node_scale(s)):
        with pytest.raises(InputError, match=r"expected elements .*\(O, Hf\), got Si"):
            call(other, graph)


def test_a_graph_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"at least the baseline's cutoff 4\.0 Å, got 3\.0"):
        BASELINE.nodes(STRUCTURE, build_graph(STRUCTURE, 3.0))
    with pytest.raises(InputError, match="graph of the structure's 24 atoms, got 2"):
        BASELINE.edges(STRUCTURE, build_graph(STRUCTURE.permuted(np.arange(2)), CUTOFF))
