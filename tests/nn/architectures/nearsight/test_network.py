"""The network `nearsight`: exact symmetries on random weights, a smooth cutoff, compiled engine against reference."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nearsight.errors import InputError
from nearsight.inference.predict import predict_hamiltonian
from nearsight.nn.architectures.nearsight.batches import BondBatch
from nearsight.nn.architectures.nearsight.graph import BondGraph, BondTargets, canonical_edges, make_bonds
from nearsight.nn.architectures.nearsight.network import NearsightNetwork
from nearsight.nn.architectures.nearsight.objective import BondObjective
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.symmetry import hermiticity_error, permute, rotate
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import CUTOFF, operator_of, random_calculation
from tests.nn.architectures.nearsight.random_model import CONFIG, random_bond_model

MODEL = random_bond_model()
STRUCTURE = random_calculation(3).structure


def predicted(structure: Structure, hermitian: bool = True) -> BlockOperator:
    return predict_hamiltonian(MODEL, structure, hermitian=hermitian)


def test_the_network_adds_to_the_baseline() -> None:
    baseline = operator_of(MODEL.baseline, STRUCTURE, build_graph(STRUCTURE, CUTOFF))
    found = predicted(STRUCTURE)
    np.testing.assert_array_equal(found.source, baseline.source)
    for pairs in found.element_pairs.values():
        off_site = pairs[~found.on_site[pairs]]
        assert np.abs(found.stack(off_site) - baseline.stack(off_site)).mean() > 1e-2


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, -1]))
def test_a_rotated_structure_has_the_rotated_hamiltonian(seed: int, sign: int) -> None:
    """Improper rotations too."""
    rotation = sign * Rotation.random(random_state=seed).as_matrix()
    found = predicted(STRUCTURE.rotated(rotation))
    np.testing.assert_allclose(found.values, rotate(predicted(STRUCTURE), rotation).values, atol=1e-10)


def test_inversion() -> None:
    found = predicted(STRUCTURE.rotated(-np.eye(3)))
    np.testing.assert_allclose(found.values, rotate(predicted(STRUCTURE), -np.eye(3)).values, atol=1e-10)


def test_permutation(rng: np.random.Generator) -> None:
    order = rng.permutation(len(STRUCTURE))
    found = predicted(STRUCTURE.permuted(order))
    np.testing.assert_allclose(found.values, permute(predicted(STRUCTURE), order).values, atol=1e-10)


def test_translation(rng: np.random.Generator) -> None:
    found = predicted(STRUCTURE.translated(rng.standard_normal(3)))
    np.testing.assert_allclose(found.values, predicted(STRUCTURE).values, atol=1e-10)


@pytest.mark.exact
@pytest.mark.parametrize("n_units", [1, 8])
def test_hermitian_by_construction(n_units: int) -> None:
    """Both directions of every bond are predicted on their own, in a cell with images of its own atoms, too."""
    structure = random_calculation(4, n_units=n_units).structure
    assert hermiticity_error(predicted(structure, hermitian=False)) < 1e-12
    assert hermiticity_error(predicted(structure)) == 0


@pytest.mark.exact
@pytest.mark.parametrize("long_range", [False, True])
def test_parts_do_not_matter(long_range: bool) -> None:
    """Also where on-site terms see the charges of the whole structure."""
    model = random_bond_model(long_range)
    whole = predict_hamiltonian(model, STRUCTURE)
    for chunk in (1, 7, 100):
        cut = predict_hamiltonian(model, STRUCTURE, np.arange(len(STRUCTURE)) % 3, chunk=chunk)
        np.testing.assert_allclose(cut.values, whole.values, atol=1e-12)


def test_symmetries_with_long_range_features() -> None:
    model, rotation = random_bond_model(True), -Rotation.random(random_state=1).as_matrix()
    found, expected = (predict_hamiltonian(model, s) for s in (STRUCTURE.rotated(rotation), STRUCTURE))
    np.testing.assert_allclose(found.values, rotate(expected, rotation).values, atol=1e-9)
    assert hermiticity_error(predict_hamiltonian(model, STRUCTURE, hermitian=False)) < 1e-12
    assert np.abs(expected.values - predicted(STRUCTURE).values).max() > 1e-3


def test_smooth_at_the_cutoff() -> None:
    """An atom that crosses the cutoff of another one in steps of 1e-4 Å."""

    def hamiltonian(x: float) -> np.ndarray:
        positions = np.array([[0.0, 0, 0], [1.9, 0.3, 0], [0.2, 2.0, 0.4], [x, 0.1, 0.3]])
        operator = predicted(Structure(np.array([72, 8, 8, 72]), positions, np.eye(3) * 40, True))
        dense = np.zeros((4, 4, 10, 10))
        for k in range(operator.n_pairs):
            block = operator.stack(np.array([k]))[0]
            dense[operator.source[k], operator.target[k], : block.shape[0], : block.shape[1]] = block
        return dense

    step = 1e-4
    edge = np.sqrt(CUTOFF**2 - 0.1**2 - 0.3**2)
    values = np.array([hamiltonian(edge + k * step) for k in (-2, -1, 0, 1, 2)])
    assert np.abs(values[2, 0, 1] - hamiltonian(edge - 0.3)[0, 1]).max() > 1e-4  # the atom is felt inside
    assert np.abs(np.diff(values[:, 0, 3], axis=0)).max() < 1e-6
    slope = np.diff(values, axis=0)
    assert np.abs(np.diff(slope, axis=0)).max() < 1e-6


def random_case(dtype: torch.dtype) -> tuple[NearsightNetwork, BondGraph, dict[tuple[int, int], BondTargets]]:
    """Bonds of the random structure with random targets and weights."""
    torch.manual_seed(0)
    graph = build_graph(STRUCTURE, CUTOFF)
    edges = canonical_edges(STRUCTURE, graph)
    bonds = {pair: make_bonds(graph, own, CONFIG.l_max, dtype) for pair, own in edges.items()}
    targets = {}
    for pair, layout in MODEL.network.layouts.items():
        weights = torch.rand(len(bonds[pair]), layout.n_channels)[:, layout.channel_of_column]
        values = torch.randn(len(bonds[pair]), layout.width, dtype=dtype)
        targets[pair] = BondTargets(values, weights.to(dtype), 0.3)
    return MODEL.network, MODEL.atoms(STRUCTURE, graph).graph(bonds, dtype), targets


def value_and_gradients(
    graph: BondGraph, targets: dict[tuple[int, int], BondTargets], reference: bool, summed: bool
) -> list[np.ndarray]:
    network = MODEL.network
    network.reference = reference
    network.zero_grad()
    try:
        value = (
            network.error(graph, targets)
            if summed
            else torch.stack([(o**3).sum() for o in network(graph).values()]).sum()
        )
        value.backward()
    finally:
        network.reference = False
    return [value.detach().numpy(), *(p.grad.numpy().copy() for p in network.parameters() if p.grad is not None)]


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("huber_delta", [0.3, 0.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_engine_and_twin(summed: bool, huber_delta: float, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr("nearsight.nn.architectures.nearsight.kernels.engine.CHUNK", 13)
    _, graph, targets = random_case(torch.float64)
    targets = {k: BondTargets(t.values, t.weights, huber_delta) for k, t in targets.items()}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        fast = value_and_gradients(graph, targets, False, summed)
    finally:
        torch.set_num_threads(before)
    slow = value_and_gradients(graph, targets, True, summed)
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * max(np.abs(b).max(), 1e-300))


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_gradient_without_autograd(together: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is added to what is there, wherever weights and gradients lie."""
    monkeypatch.setattr("nearsight.nn.architectures.nearsight.kernels.engine.CHUNK", 13)
    monkeypatch.setattr("nearsight.nn.architectures.nearsight.kernels.engine.FULL_SHARE", 60)
    _, graph, targets = random_case(torch.float64)
    network = copy.deepcopy(MODEL.network)
    own, batch = list(network.parameters()), BondBatch(graph, targets, {})
    expected = BondObjective().sums(network, batch)
    gradients = torch.autograd.grad(expected[0] / 7, own)
    memory = torch.ones(sum(p.numel() for p in own), dtype=torch.float64)
    parts = memory.split([p.numel() for p in own])
    for p, part in zip(own, parts):
        p.grad = part.view_as(p) if together else part.view_as(p).clone()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        sums = BondObjective().add_gradient(network, batch, 7)
    finally:
        torch.set_num_threads(before)
    assert not sums.requires_grad
    np.testing.assert_allclose(sums, expected.detach(), rtol=1e-12)
    for p, gradient in zip(own, gradients):
        assert p.grad is not None
        np.testing.assert_allclose(p.grad - 1, gradient, rtol=0, atol=1e-12 * max(1.0, float(gradient.abs().max())))


@pytest.mark.parametrize("long_range", [False, True])
def test_the_gradient_of_parts_is_that_of_the_whole(long_range: bool) -> None:
    network, graph, targets = random_case(torch.float64)
    if long_range:
        inputs = random_bond_model(True).atoms(STRUCTURE, build_graph(STRUCTURE, CUTOFF))
        graph = inputs.graph(graph.bonds, torch.float64)
    whole = value_and_gradients(graph, targets, False, True)
    network.zero_grad()
    value = 0.0
    for k in range(3):
        part = graph.with_bonds({pair: b.rows(slice(k, None, 3)) for pair, b in graph.bonds.items()})
        error = network.error(part, {pair: t.rows(slice(k, None, 3)) for pair, t in targets.items()})
        error.backward()
        value += float(error.detach())
    parts = [np.array(value), *(p.grad.numpy() for p in network.parameters() if p.grad is not None)]
    for a, b in zip(parts, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * max(np.abs(b).max(), 1e-300))


def test_too_low_a_degree_is_refused() -> None:
    with pytest.raises(InputError, match="l_max >= 4"):
        NearsightNetwork(CONFIG.model_copy(update={"l_max": 2}), MODEL.layout, [(72, 72)], 3)


def test_an_unseen_pair_of_elements_is_named() -> None:
    network, graph, _ = random_case(torch.float64)
    with pytest.raises(InputError, match=r"O-Hf.*got Ti-Hf"):
        network(graph.with_bonds({(22, 72): next(iter(graph.bonds.values()))}))
