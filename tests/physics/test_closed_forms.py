"""Models with a solution on paper: bands of chains and lattices, folding, two-centre integrals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import eigh

from nearsight.operators.bloch import bloch, fold, to_csr
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.symmetry import hermiticity_error, rotate
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.rotations import bond_frames
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure
from tests.random_cases import pairs_of, rotations

S_ONLY = BasisSet("one s", {1: (0,)}, {1: 1})
P_ONLY = BasisSet("one p", {6: (1,)}, {6: 3})
ks = st.floats(-0.5, 0.5)


def s_model(graph: Graph, on_site: float, hopping) -> BlockOperator:
    """One s orbital per atom; `hopping` is a number, or a function of the (P,) distances."""
    operator = zeros(np.ones(graph.n_nodes, dtype=int), S_ONLY, *pairs_of(graph), False)
    off_site = ~operator.on_site
    operator.values[~off_site] = on_site
    operator.values[off_site] = hopping(graph.distance) if callable(hopping) else hopping
    return operator


def chain(n: int, cutoff: float = 1.5, at: list[float] | None = None) -> Graph:
    """n hydrogen atoms at distance 1 Å (or at the given places) in a cell periodic along x only."""
    places = np.arange(n) if at is None else np.array(at)
    cell = np.diag([float(n), 0, 0])
    return build_graph(Structure(np.ones(n), np.outer(places, [1.0, 0, 0]), cell, (True, False, False)), cutoff)


def bands(operator: BlockOperator, k, overlap: BlockOperator | None = None) -> np.ndarray:
    h = bloch(operator, np.array(k)).toarray()
    return eigh(h, None if overlap is None else bloch(overlap, np.array(k)).toarray(), eigvals_only=True)


@given(ks, st.floats(-3, 3), st.floats(-3, 3))
def test_chain(k, energy, t):
    """E(k) = ε + 2t cos 2πk"""
    assert bands(s_model(chain(1), energy, t), [k, 0, 0]) == pytest.approx(energy + 2 * t * np.cos(2 * np.pi * k))


@given(ks, st.floats(-3, 3), st.floats(-3, 3), st.floats(-0.45, 0.45))
def test_chain_with_overlap(k, energy, t, s):
    """E(k) = (ε + 2t cos 2πk) / (1 + 2s cos 2πk)"""
    expected = (energy + 2 * t * np.cos(2 * np.pi * k)) / (1 + 2 * s * np.cos(2 * np.pi * k))
    h, overlap = s_model(chain(1), energy, t), s_model(chain(1), 1.0, s)
    assert bands(h, [k, 0, 0], overlap) == pytest.approx(expected)


def test_chain_with_far_neighbours():
    """E(k) = ε + 2 Σ_n t_n cos 2πnk, one term for every shell of images."""
    graph, k = chain(1, cutoff=5.5), 0.17
    n = np.arange(1, 6)
    expected = 0.5 + 2 * np.sum(np.exp(-n) * np.cos(2 * np.pi * n * k))
    assert bands(s_model(graph, 0.5, lambda d: np.exp(-d)), [k, 0, 0]) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_a_supercell_at_gamma_holds_the_k_points_of_the_cell(n):
    """Folded images: n atoms at Γ have the energies of k = 0, 1/n … of one; for n ≤ 2 both neighbours coincide."""
    expected = np.sort(0.3 - 1.4 * np.cos(2 * np.pi * np.arange(n) / n))
    operator = s_model(chain(n), 0.3, -0.7)
    np.testing.assert_allclose(bands(operator, [0, 0, 0]), expected, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(to_csr(fold(operator)).toarray()), expected, atol=1e-12)


@given(ks, st.floats(0.1, 2), st.floats(0.1, 2))
def test_su_schrieffer_heeger_chain(k, t1, t2):
    """Alternating bonds: E = ±√(t1² + t2² + 2 t1 t2 cos 2πk), gap 2|t1 − t2| at k = ½."""
    graph = chain(2, cutoff=1.3, at=[0.0, 0.8])
    operator = s_model(graph, 0.0, lambda d: np.where(d < 1, t1, t2))
    energy = np.sqrt(max(t1**2 + t2**2 + 2 * t1 * t2 * np.cos(2 * np.pi * k), 0.0))
    np.testing.assert_allclose(bands(operator, [k, 0, 0]), [-energy, energy], atol=1e-7)
    np.testing.assert_allclose(np.ptp(bands(operator, [0.5, 0, 0])), 2 * abs(t1 - t2), atol=1e-12)


def graphene() -> Graph:
    a = 2.46
    cell = np.array([[a, 0, 0], [a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 0]])
    positions = np.array([[0, 0, 0], [1 / 3, 1 / 3, 0]]) @ cell
    return build_graph(Structure([1, 1], positions, cell, (True, True, False)), 1.5)


@given(ks, ks)
def test_graphene(kx, ky):
    """E = ±t |1 + exp 2πi k1 + exp 2πi k2|"""
    expected = 2.7 * abs(1 + np.exp(2j * np.pi * kx) + np.exp(2j * np.pi * ky))
    np.testing.assert_allclose(bands(s_model(graphene(), 0, -2.7), [kx, ky, 0]), [-expected, expected], atol=1e-7)


def test_dirac_point():
    np.testing.assert_allclose(bands(s_model(graphene(), 0, -2.7), [1 / 3, -1 / 3, 0]), 0, atol=1e-12)


@given(ks, ks, ks)
def test_simple_cubic(kx, ky, kz):
    """E = ε + 2t Σ cos 2πk"""
    graph = build_graph(Structure([1], [[0.2, 0, 7]], 2 * np.eye(3), True), 2.1)
    expected = 1.0 - 2 * sum(np.cos(2 * np.pi * k) for k in (kx, ky, kz))
    assert bands(s_model(graph, 1.0, -1.0), [kx, ky, kz]) == pytest.approx(expected)


def test_the_width_of_the_fcc_band_is_sixteen_t():
    """E(Γ) = 12t and E(X) = −4t: k = (½, ½, 0) in the primitive reciprocal vectors is X."""
    graph = build_graph(Structure([1], [[0, 0, 0]], (1 - np.eye(3)) * 2, True), 2.9)
    operator = s_model(graph, 0.0, -1.0)
    assert bands(operator, [0, 0, 0]) == pytest.approx(-12)
    assert bands(operator, [0.5, 0.5, 0]) == pytest.approx(4)


def test_a_ring_and_an_open_chain():
    """Hückel: benzene's ring has ±2t, ±t twice; the open chain of n atoms 2t cos(πj / (n+1))."""
    angle = np.arange(6) * np.pi / 3
    ring = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(6)]) * 1.4
    operator = s_model(build_graph(Structure(np.ones(6), ring, np.zeros((3, 3)), False), 1.5), 0, -1)
    np.testing.assert_allclose(bands(operator, [0, 0, 0]), [-2, -1, -1, 1, 1, 2], atol=1e-12)
    line = Structure(np.ones(7), np.outer(np.arange(7), [1.0, 1, 0]), np.zeros((3, 3)), False)
    operator = s_model(build_graph(line, 1.5), 0, -1)
    expected = np.sort(2 * np.cos(np.pi * np.arange(1, 8) / 8))
    np.testing.assert_allclose(bands(operator, [0, 0, 0]), expected, atol=1e-12)


def two_centre(graph: Graph, sigma, pi) -> BlockOperator:
    """p orbitals with Slater-Koster integrals, each bond's block turned from the z axis to where it points."""
    operator = zeros(np.full(graph.n_nodes, 6), P_ONLY, *pairs_of(graph), False)
    off_site = np.flatnonzero(~operator.on_site)
    for p, vector in zip(off_site, graph.vector):
        along_z = np.diag([pi(np.linalg.norm(vector)), sigma(np.linalg.norm(vector)), pi(np.linalg.norm(vector))])
        bond = zeros(np.array([6]), P_ONLY, *[np.array([0])] * 2, np.zeros((1, 3), dtype=int), True)
        turned = rotate(bond.with_values(along_z.reshape(-1)), bond_frames(vector).T)
        operator.values[operator.flat_index(np.array([p]))] = turned.values
    return operator


@given(st.integers(0, 2**32 - 1))
def test_slater_koster(seed):
    """⟨p_a|H|p_b⟩ = n_a n_b (V_σ − V_π) + δ_ab V_π, n the direction of the bond, p in the order y, z, x."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=3)
    direction *= 2.0 / np.linalg.norm(direction)
    graph = build_graph(Structure([6, 6], [np.zeros(3), direction], np.zeros((3, 3)), False), 2.5)
    operator = two_centre(graph, lambda d: 1.3, lambda d: -0.4)
    n = direction[[1, 2, 0]] / 2
    np.testing.assert_allclose(operator.block(0, 1), np.outer(n, n) * 1.7 - 0.4 * np.eye(3), atol=1e-13)
    assert hermiticity_error(operator) < 1e-13


def test_p_bands_of_the_simple_cubic_lattice():
    """Along x: p_x has 2V_σ cos + 4V_π, the other two 2V_π cos + 2V_σ + 2V_π."""
    graph = build_graph(Structure([6], [[0, 0, 0]], 2 * np.eye(3), True), 2.1)
    operator = two_centre(graph, lambda d: 2.0, lambda d: -0.3)
    c = np.cos(2 * np.pi * 0.2)
    expected = np.sort([4 * c - 1.2, 3.4 - 0.6 * c, 3.4 - 0.6 * c])
    np.testing.assert_allclose(bands(operator, [0.2, 0, 0]), expected, atol=1e-12)


@given(rotations)
def test_a_turned_crystal_has_the_turned_operator(rotation):
    """Building in the rotated frame or rotating what was built is the same, in a skewed cell with images."""
    cell = np.array([[2.2, 0, 0], [0.7, 2.5, 0], [-0.4, 0.3, 2.9]])
    structure = Structure([6, 6], [[0, 0, 0], [1.2, 1.1, 1.4]], cell, True)
    before = two_centre(build_graph(structure, 4.0), lambda d: np.exp(-d), lambda d: -0.3 / d)
    after = two_centre(build_graph(structure.rotated(rotation), 4.0), lambda d: np.exp(-d), lambda d: -0.3 / d)
    np.testing.assert_array_equal(after.shift, before.shift)
    np.testing.assert_allclose(after.values, rotate(before, rotation).values, atol=1e-12)
