"""A baseline that starts from H₀: symmetries, what it makes of H₀ = H, gauges, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nearsight.baselines import baseline as module
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.h0.on_site import overlap_products
from nearsight.baselines.h0.reference import H0Reference
from nearsight.baselines.serialisation import from_arrays, to_arrays
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.symmetry import permute, rotate
from nearsight.structures.graph import build_graph
from nearsight.units import HARTREE_IN_EV
from tests.baselines.random_baseline import CUTOFF, LAYOUT, operator_of, random_baseline
from tests.baselines.random_h0 import WITH_INITIAL, h0_of, random_h0_baseline, random_h0_calculation

BASELINE = random_h0_baseline()
CALCULATION = random_h0_calculation(3)
STRUCTURE, INITIAL = CALCULATION.structure, H0Matrices.of(CALCULATION)
GRAPH = build_graph(STRUCTURE, CUTOFF)


def rotated(h0: H0Matrices, rotation: np.ndarray) -> H0Matrices:
    return H0Matrices(rotate(h0.hamiltonian, rotation), rotate(h0.overlap, rotation))


def folded(h0: H0Matrices) -> H0Matrices:
    return H0Matrices(fold(h0.hamiltonian), fold(h0.overlap))


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, -1]))
def test_a_rotated_structure_has_the_rotated_hamiltonian(seed: int, sign: int) -> None:
    """Improper rotations too."""
    rotation = sign * Rotation.random(random_state=seed).as_matrix()
    turned = STRUCTURE.rotated(rotation)
    expected = rotate(operator_of(BASELINE, STRUCTURE, GRAPH, INITIAL), rotation)
    found = operator_of(BASELINE, turned, build_graph(turned, CUTOFF), rotated(INITIAL, rotation))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-9)


def test_permutation(rng: np.random.Generator) -> None:
    order = rng.permutation(len(STRUCTURE))
    permuted = STRUCTURE.permuted(order)
    expected = permute(operator_of(BASELINE, STRUCTURE, GRAPH, INITIAL), order)
    h0 = H0Matrices(permute(INITIAL.hamiltonian, order), permute(INITIAL.overlap, order))
    found = operator_of(BASELINE, permuted, build_graph(permuted, CUTOFF), h0)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-9)


@pytest.mark.exact
@pytest.mark.parametrize("chunk", [8192, 7])
def test_an_edge_and_its_reverse_are_transposes_to_the_last_bit(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With irreps of unnatural parity, and where atoms see their own images."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    for seed, n_units in ((3, 8), (4, 1)):
        structure = random_h0_calculation(seed, n_units).structure
        graph = build_graph(structure, CUTOFF)
        edges = BASELINE.edges(structure, graph, h0=h0_of(seed, n_units))
        assert np.array_equal(edges[graph.reverse], BASELINE.table.transposed(edges))
        assert np.abs(edges[:, ~BASELINE.table.natural[BASELINE.table.irrep_of_column]]).max() > 1e-2
        nodes = BASELINE.nodes(structure, graph, h0_of(seed, n_units))
        assert np.array_equal(BASELINE.table.transposed(nodes), nodes)
    assert (graph.source == graph.target).any()


def test_edges_taken_in_pieces_are_the_same(rng: np.random.Generator) -> None:
    whole = BASELINE.edges(STRUCTURE, GRAPH, h0=INITIAL)
    nodes = BASELINE.nodes(STRUCTURE, GRAPH, INITIAL)
    together = np.zeros_like(whole)
    for part in np.array_split(rng.permutation(GRAPH.n_edges), 5):
        together[part] = BASELINE.edges(STRUCTURE, GRAPH, part, INITIAL, nodes)
    np.testing.assert_allclose(together, whole, atol=1e-12)


def test_a_larger_graph_changes_nothing() -> None:
    larger = build_graph(STRUCTURE, CUTOFF + 0.5)
    edges = BASELINE.edges(STRUCTURE, larger, h0=INITIAL)
    near = larger.distance < CUTOFF
    np.testing.assert_allclose(edges[near], BASELINE.edges(STRUCTURE, GRAPH, h0=INITIAL), atol=1e-12)
    assert not edges[~near].any()


def test_where_nothing_changes_the_prediction_is_the_initial_hamiltonian() -> None:
    calculations = [random_h0_calculation(seed) for seed in (1, 2)]
    unchanged = [replace(c, hamiltonian=c.h0) for c in calculations]
    baseline = fit_baseline(unchanged, LAYOUT, CUTOFF, WITH_INITIAL)
    found = operator_of(baseline, STRUCTURE, GRAPH, INITIAL)
    np.testing.assert_allclose(found.values, INITIAL.hamiltonian.values, atol=1e-12)


def test_a_structure_with_another_zero_of_energy_moves_the_mean_and_nothing_else() -> None:
    """H + μS of the larger of two structures: predictions get its share of μS."""
    first, second = random_h0_calculation(1, 40), random_h0_calculation(2, 60)
    mu = 0.3 * HARTREE_IN_EV
    h, s = second.require_hamiltonian(), second.require_overlap()
    assert np.array_equal(h.source, s.source)
    moved = replace(second, hamiltonian=h.with_values(h.values + mu * s.values))
    low = replace(WITH_INITIAL, h0_ridge=1e-12, h0_slope=0.0, pair_ridge=1e-12, tensor_ridge=1e-10, scalar_ridge=1e-10)
    one, other = (fit_baseline([first, c], LAYOUT, CUTOFF, low) for c in (second, moved))
    before, after = (operator_of(b, STRUCTURE, GRAPH, INITIAL) for b in (one, other))
    on_site = before.select(before.on_site)
    change = after.select(after.on_site).values - on_site.values
    trace = np.concatenate([np.eye(n).reshape(-1) for n in on_site.basis.sizes(STRUCTURE.numbers)])
    np.testing.assert_allclose(change, 0.6 * mu * trace, atol=2e-3 * mu)
    assert one.h0_terms is not None
    assert other.h0_terms is not None
    energy_references = other.h0_terms.energy_references - one.h0_terms.energy_references
    np.testing.assert_allclose(energy_references * HARTREE_IN_EV, mu * np.array([-0.6, 0.4]), atol=1e-12)


def test_a_folded_matrix_with_one_image_per_pair_serves_as_well() -> None:
    large = random_h0_calculation(7, 30)
    graph, h0 = build_graph(large.structure, CUTOFF), H0Matrices.of(large)
    expected = operator_of(BASELINE, large.structure, graph, h0)
    found = operator_of(BASELINE, large.structure, graph, folded(h0))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-12)


def test_only_what_belongs_to_one_image_is_learnt_of_folded_matrices() -> None:
    """Of a small cell some edges and atoms are left, with the same numbers as of matrices resolved in R."""
    small = random_h0_calculation(5, 6)
    h0 = H0Matrices.of(small)
    gamma = replace(
        small, hamiltonian=fold(small.require_hamiltonian()), overlap=fold(h0.overlap), h0=fold(h0.hamiltonian)
    )
    change = np.random.default_rng(1).standard_normal((len(small.structure), LAYOUT.size))
    whole, part = (replace(H0Reference.of(c, LAYOUT, CUTOFF), change=change) for c in (small, gamma))
    known = {
        pair: (dict(zip(edges.tolist(), blocks)), dict(zip(edges.tolist(), vectors.transpose(1, 0, 2))))
        for pair, edges, vectors, blocks in whole.vectors()
    }
    seen = 0
    for pair, edges, vectors, blocks in part.vectors():
        np.testing.assert_allclose(blocks, [known[pair][0][e] for e in edges], atol=1e-12)
        np.testing.assert_allclose(vectors.transpose(1, 0, 2), [known[pair][1][e] for e in edges], atol=1e-12)
        seen += len(edges)
    assert 0 < seen < sum(len(blocks) for blocks, _ in known.values())
    graph, products = whole.graph, []
    for matrices in (h0, part.h0):
        products.append(overlap_products(small.structure, graph, CUTOFF, LAYOUT, matrices, change))
    alike = np.abs(products[0] - products[1]).max(axis=(1, 2)) < 1e-12
    usable = part.h0.single_image_environments(graph, CUTOFF)
    assert alike[usable].all()
    assert not alike[~usable].any()
    for z in (8, 72):
        assert np.array_equal(part.on_site(z)[0], np.flatnonzero(usable & (small.structure.numbers == z)))


def test_arrays_give_back_the_same_baseline() -> None:
    arrays, metadata = to_arrays(BASELINE)
    read = from_arrays(arrays, json.loads(json.dumps(metadata)))
    assert np.array_equal(read.nodes(STRUCTURE, GRAPH, INITIAL), BASELINE.nodes(STRUCTURE, GRAPH, INITIAL))
    expected = BASELINE.edges(STRUCTURE, GRAPH, h0=INITIAL)
    assert np.array_equal(read.edges(STRUCTURE, GRAPH, h0=INITIAL), expected)
    assert read.h0_terms is not None
    assert len(read.h0_terms.energy_references) == 2
    with pytest.raises(InputError, match=r"without 'h0.O-O'"):
        from_arrays({name: array for name, array in arrays.items() if name != "h0.O-O"}, metadata)


def test_arrays_of_version_2_are_read() -> None:
    """Files written before the arrays and settings of H₀ got their names of today."""
    arrays, metadata = to_arrays(BASELINE)
    old = {"h0.energy_references": "initial.gauges"} | {
        name: name.replace("h0.", "initial.", 1) for name in arrays if name.startswith("h0.") and "-" in name
    }
    before = {"h0": "initial", "h0_pieces": "initial_pieces", "h0_slope": "initial_slope", "h0_ridge": "initial_ridge"}
    settings = {before.get(key, key): value for key, value in metadata["settings"].items()}
    read = from_arrays(
        {old.get(name, name): array for name, array in arrays.items()}, {**metadata, "version": 2, "settings": settings}
    )
    assert np.array_equal(read.edges(STRUCTURE, GRAPH, h0=INITIAL), BASELINE.edges(STRUCTURE, GRAPH, h0=INITIAL))


def test_a_baseline_that_does_not_start_from_it_does_not_look_at_it() -> None:
    plain = random_baseline()
    assert np.array_equal(plain.nodes(STRUCTURE, GRAPH, INITIAL), plain.nodes(STRUCTURE, GRAPH))
    assert plain.h0_terms is None


def test_missing_matrices_are_refused() -> None:
    for call in (BASELINE.nodes, BASELINE.edges):
        with pytest.raises(InputError, match=r"expected H₀ and S of Hf8O16.* got none; add .*--h0 FILE"):
            call(STRUCTURE, GRAPH)
    without = replace(CALCULATION, h0=None)
    with pytest.raises(InputError, match=r"superposed atomic densities \(H₀\), got a file without one"):
        fit_baseline([without], LAYOUT, CUTOFF, WITH_INITIAL)
    with pytest.raises(InputError, match="expected an overlap matrix S"):
        fit_baseline([replace(CALCULATION, overlap=None)], LAYOUT, CUTOFF, WITH_INITIAL)


def test_sums_over_images_are_refused_in_a_prediction() -> None:
    small = random_h0_calculation(5, 3)
    graph, h0 = build_graph(small.structure, CUTOFF), folded(H0Matrices.of(small))
    for call in (BASELINE.nodes, lambda s, g, i: BASELINE.edges(s, g, h0=i)):
        with pytest.raises(InputError, match=r"got sums over images at Γ for \d+ edges within 4 Å; use a cell .* 8 Å"):
            call(small.structure, graph, h0)


def test_a_cell_in_which_nothing_can_be_told_apart_is_refused() -> None:
    tiny = random_h0_calculation(4, 1)
    gamma = replace(
        tiny,
        hamiltonian=fold(tiny.require_hamiltonian()),
        overlap=fold(tiny.require_overlap()),
        h0=fold(tiny.require_h0()),
    )
    with pytest.raises(InputError, match=r"expected atoms whose neighbours have one image within 4\.0 Å, got none"):
        fit_baseline([gamma], LAYOUT, CUTOFF, WITH_INITIAL)


def test_matrices_of_another_structure_are_refused() -> None:
    with pytest.raises(InputError, match="expected H₀ on the 24 atoms of Hf8O16, got one on 3 atoms"):
        BASELINE.nodes(STRUCTURE, GRAPH, h0_of(4, 1))
    other = replace(INITIAL, overlap=h0_of(4, 1).overlap)
    with pytest.raises(InputError, match="expected S on the 24 atoms"):
        BASELINE.edges(STRUCTURE, GRAPH, h0=other)
