"""Symmetries of the network: rotation, permutation, lattice translation, one-atom cells, input left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import graph_tensors
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.orbitals.basis import basis_named
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import wigner_d
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure

LAYOUT = CoupledLayout(basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72]))
CUTOFF = 4.5


def make_network(layers: int = 1, reference: bool = False) -> Xia2025:
    torch.manual_seed(0)
    return Xia2025(Widths(), layers, LAYOUT.degrees, reference=reference).double()


def make_structure(n: int = 9, seed: int = 0) -> Structure:
    rng = np.random.default_rng(seed)
    cell = np.array([[5.6, 0.0, 0.0], [1.9, 5.1, 0.0], [-0.7, 1.3, 4.9]])
    grid = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(3)])[:n] / 3
    positions = (grid + rng.uniform(-0.03, 0.03, (n, 3))) @ cell
    return Structure(rng.choice([8, 72], n), positions, cell, True)


def outputs(network: Xia2025, structure: Structure, graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    tensors = graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4, torch.float64)
    with torch.no_grad():
        nodes, edges = network(tensors)
    return nodes.numpy(), edges.numpy()


def rotate_coupled(values: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    d, parts, at = wigner_d(rotation, LAYOUT.l_max), [], 0
    for l in LAYOUT.degrees:
        parts.append(values[:, at : at + 2 * l + 1] @ d[l].T)
        at += 2 * l + 1
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("reference", [True, False])
def test_rotation(layers, reference):
    network, structure = make_network(layers, reference), make_structure()
    rotation = Rotation.random(random_state=3).as_matrix()
    nodes, edges = outputs(network, structure, build_graph(structure, CUTOFF))
    turned = structure.rotated(rotation)
    nodes_turned, edges_turned = outputs(network, turned, build_graph(turned, CUTOFF))
    assert np.abs(nodes_turned - rotate_coupled(nodes, rotation)).max() < 1e-10
    assert np.abs(edges_turned - rotate_coupled(edges, rotation)).max() < 1e-10
    assert np.abs(nodes_turned - nodes).max() > 1e-2


@pytest.mark.parametrize("layers", [1, 2])
def test_plain_and_fast_agree_in_value_and_gradient(layers):
    structure = make_structure()
    graph = build_graph(structure, CUTOFF)
    tensors = graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4, torch.float64)
    results = []
    for reference in (True, False):
        network = make_network(layers, reference)
        nodes, edges = network(tensors)
        (nodes.square().sum() + edges.square().sum()).backward()
        gradients = {k: p.grad if p.grad is not None else torch.zeros_like(p) for k, p in network.named_parameters()}
        results.append((nodes.detach(), edges.detach(), gradients))
    (nodes, edges, slow), (nodes_fast, edges_fast, fast) = results
    assert torch.allclose(nodes, nodes_fast, rtol=0, atol=1e-11)
    assert torch.allclose(edges, edges_fast, rtol=0, atol=1e-11)
    for name, gradient in slow.items():
        assert torch.allclose(gradient, fast[name], rtol=1e-9, atol=1e-9 * float(gradient.abs().max() + 1)), name


def test_permutation():
    network, structure = make_network(), make_structure()
    order = np.random.default_rng(1).permutation(len(structure))
    graph, other = build_graph(structure, CUTOFF), build_graph(structure.permuted(order), CUTOFF)
    nodes, edges = outputs(network, structure, graph)
    nodes_other, edges_other = outputs(network, structure.permuted(order), other)
    assert np.abs(nodes_other - nodes[order]).max() < 1e-12
    place = {
        (int(i), int(j), *map(int, s)): k for k, (i, j, s) in enumerate(zip(graph.source, graph.target, graph.shift))
    }
    same = [
        place[(int(order[i]), int(order[j]), *map(int, s))] for i, j, s in zip(other.source, other.target, other.shift)
    ]
    assert np.abs(edges_other - edges[same]).max() < 1e-12


def test_translation_of_single_atoms_by_lattice_vectors():
    network, structure = make_network(), make_structure()
    moves = np.random.default_rng(2).integers(-2, 3, (len(structure), 3))
    moved = structure.translated(moves @ structure.cell)
    graph, other = build_graph(structure, CUTOFF), build_graph(moved, CUTOFF)
    nodes, edges = outputs(network, structure, graph)
    nodes_moved, edges_moved = outputs(network, moved, other)
    assert np.abs(nodes_moved - nodes).max() < 1e-11
    shift = other.shift + moves[other.target] - moves[other.source]
    place = {
        (int(i), int(j), *map(int, s)): k for k, (i, j, s) in enumerate(zip(graph.source, graph.target, graph.shift))
    }
    same = [place[(int(i), int(j), *map(int, s))] for i, j, s in zip(other.source, other.target, shift)]
    assert np.abs(edges_moved - edges[same]).max() < 1e-11


def test_bond_frame_does_not_matter():
    """A further rotation about each bond leaves the outputs alone: the convolutions commute with it."""
    network, structure = make_network(reference=True), make_structure()
    graph = build_graph(structure, CUTOFF)
    tensors = graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4, torch.float64)
    about_z = Rotation.from_euler("z", np.random.default_rng(5).uniform(0, 6.28, (graph.n_edges, 1))).as_matrix()
    turned = [torch.as_tensor(d) @ w for d, w in zip(wigner_d(about_z, 4), tensors.wigner)]
    other = replace(tensors, frames=torch.cat([d.flatten(1) for d in turned], dim=1))
    with torch.no_grad():
        for a, b in zip(network(tensors), network(other)):
            assert float((a - b).abs().max()) < 1e-12


@pytest.mark.parametrize("pbc", [True, False])
def test_one_atom_cell(pbc):
    structure = Structure([72], [[0.3, 0.1, 0.2]], np.diag([3.0, 3.1, 3.2]), pbc)
    graph = build_graph(structure, CUTOFF)
    nodes, edges = outputs(make_network(), structure, graph)
    assert nodes.shape == (1, 100)
    assert len(edges) == graph.n_edges == (18 if pbc else 0)
    assert np.isfinite(nodes).all()


def test_input_is_not_changed():
    network, structure = make_network(2), make_structure()
    graph = build_graph(structure, CUTOFF)
    tensors = graph_tensors(structure.numbers, graph.source, graph.target, graph.vector, 4, torch.float64)
    before = [t.clone() for t in (tensors.numbers, tensors.distance, tensors.harmonics, *tensors.wigner)]
    network(tensors)
    after = (tensors.numbers, tensors.distance, tensors.harmonics, *tensors.wigner)
    assert all(torch.equal(a, b) for a, b in zip(before, after))
