"""What a model has learnt, carried over to one with other elements: corrections of known pairs are the same in E_h."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nearsight.baselines.bond_scale import BondScale, fit_bond_scale, max_shell
from nearsight.baselines.fit import fit_baseline
from nearsight.nn.architectures.nearsight.composite import standardise
from nearsight.nn.architectures.nearsight.graph import (
    AtomInputs,
    atom_inputs,
    canonical_edges,
    frames_of,
    make_bonds,
    scalar_columns,
)
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.nn.architectures.nearsight.network import NearsightNetwork
from nearsight.nn.architectures.nearsight.transfer import (
    channel_places,
    common_pairs,
    scalar_names,
    transfer_weights,
    unit_ratio,
)
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, random_calculation
from tests.nn.architectures.nearsight.random_model import CONFIG, random_bond_model
from tests.random_cases import random_hfo2, random_operator

# A lighter element changes the order of the slots, one with more shells adds scalars.
BASIS = BasisSet("test", {1: (0,), 8: (0, 1), 40: (0, 0, 1, 1, 2), 72: LAYOUT.basis.shells[72]}, {})
WIDER = CoupledLayout(BASIS)


def calculation_of_more_elements(seed: int) -> Calculation:
    rng = np.random.default_rng(seed)
    structure = random_hfo2(8, rng)
    numbers = rng.permutation(np.repeat([1, 8, 40, 72], 6))
    structure = Structure(numbers, structure.positions, structure.cell, structure.pbc)
    return Calculation(structure, BASIS, random_operator(structure, build_graph(structure, CUTOFF), BASIS, rng))


def inputs(layout: CoupledLayout, structure: Structure, graph: Graph, groups: int) -> AtomInputs:
    """Of a structure, with random on-site blocks that do not depend on the layout, as one or two groups of scalars."""
    known = []
    for group in range(groups):
        blocks = np.zeros((len(structure), layout.size))
        for i, z in enumerate(structure.numbers.tolist()):
            n = layout.basis.n_orbitals(z)
            block = np.random.default_rng([group, i]).normal(size=(n, n))
            blocks[i] = layout.couple((block + block.T)[None], z, z)[0]
        known.append(blocks)
    return atom_inputs(CONFIG, layout, structure, graph, known)


def with_network(model: NearsightModel, structures: list[Structure], groups: int, seed: int) -> NearsightModel:
    torch.manual_seed(seed)
    scalars = groups * len(scalar_columns(model.layout))
    network = NearsightNetwork(CONFIG, model.layout, list(model.scale.values), scalars).double()
    standardise(network, [inputs(model.layout, s, build_graph(s, CUTOFF), groups) for s in structures])
    return replace(model, network=network)


def corrections(model: NearsightModel, structure: Structure, groups: int) -> dict[tuple[int, int], np.ndarray]:
    """(e, n_i, n_j) E_h by pair of elements."""
    graph, result = build_graph(structure, CUTOFF), {}
    atoms = inputs(model.layout, structure, graph, groups)
    for pair, edges in canonical_edges(structure, graph).items():
        bonds, layout = make_bonds(graph, edges, CONFIG.l_max, torch.float64), model.network.layouts[pair]
        with torch.no_grad():
            output = model.network(atoms.graph({pair: bonds}, torch.float64))[pair].numpy()
        scaled = output * model.scale(pair, np.linalg.norm(graph.vector[edges], axis=1))
        result[pair] = layout.blocks_of(scaled, frames_of(bonds, max_shell(layout)))
    return result


@pytest.fixture(scope="module")
def wider() -> NearsightModel:
    calculations = [calculation_of_more_elements(seed) for seed in (3, 4)]
    baseline = fit_baseline(calculations, WIDER, CUTOFF, SMALL)
    known = random_bond_model()
    return replace(known, basis=BASIS, baseline=baseline, scale=fit_bond_scale(calculations, baseline))


@pytest.mark.parametrize("groups", [1, 2])
def test_corrections_of_known_structures_are_the_same(wider: NearsightModel, groups: int) -> None:
    structures = [random_calculation(seed).structure for seed in (1, 2)]
    known = with_network(random_bond_model(), structures, groups, 1)
    model = with_network(wider, [calculation_of_more_elements(3).structure], groups, 2)
    values = dict(model.scale.values)
    for pair, own in known.scale.values.items():
        values[pair] = 2.5 * own[:, channel_places(known.scale.layouts[pair], model.scale.layouts[pair])]
    model = replace(model, scale=BondScale(model.scale.layouts, model.scale.centres, values))
    before, unchanged = corrections(model, structures[0], groups), model.network.pair((1, 40)).first[0].clone()
    transfer_weights(model, known)
    wanted, found = corrections(known, structures[0], groups), corrections(model, structures[0], groups)
    assert set(wanted) == {(8, 8), (8, 72), (72, 72)} == set(common_pairs(model, known))
    for pair in wanted:
        assert np.abs(before[pair] - wanted[pair]).max() > 0.1 * np.abs(wanted[pair]).max()
        np.testing.assert_allclose(found[pair], wanted[pair], rtol=0, atol=1e-12 * np.abs(wanted[pair]).max())
    assert torch.equal(model.network.pair((1, 40)).first[0], unchanged)


def test_a_new_element_looks_like_the_known_one_of_its_group(wider: NearsightModel) -> None:
    structure = random_calculation(1).structure
    numbers = np.where(structure.numbers == 72, 40, structure.numbers)
    numbers[np.flatnonzero(numbers == 40)[:3]] = 72
    known = with_network(random_bond_model(), [structure], 1, 1)
    model = with_network(wider, [calculation_of_more_elements(3).structure], 1, 2)
    transfer_weights(model, known)
    features = []
    for own, z in ((known, structure.numbers), (model, numbers)):
        renamed = Structure(z, structure.positions, structure.cell, structure.pbc)
        atoms = inputs(own.layout, renamed, build_graph(renamed, CUTOFF), 1)
        features.append(own.network.features(atoms.graph({}, torch.float64)).detach())
    kept = torch.as_tensor(numbers == structure.numbers)
    torch.testing.assert_close(features[1][kept], features[0][kept], rtol=0, atol=1e-10)


def test_new_elements_are_random_and_seen_by_known_ones_only_if_they_are_alike(wider: NearsightModel) -> None:
    calculation = calculation_of_more_elements(3)
    model = with_network(wider, [calculation.structure], 1, 2)
    transfer_weights(model, with_network(random_bond_model(), [random_calculation(1).structure], 1, 1))
    places, size = model.network.elements, CONFIG.density_functions
    for weights in model.network.mix:
        for k, z in enumerate(places):
            columns = [weights[k, j * size : (j + 1) * size].detach().abs() for j in range(len(places))]
            seen = {other for other, own in zip(places, columns) if float(own.max()) > 0}
            assert seen == (set(places) if z in (1, 40) else {8, 40, 72})


def test_layouts_of_more_elements_have_the_same_channels_in_another_order() -> None:
    pair = (8, 72)
    known, wider = BondLayout(LAYOUT, pair), BondLayout(WIDER, pair)
    places = channel_places(known, wider)
    assert sorted(places) == list(range(known.n_channels))
    assert (places != np.arange(known.n_channels)).any()
    rows = np.concatenate([b.start + np.arange(b.channels) for b in known.blocks])
    np.testing.assert_array_equal(wider.matrix[rows], known.matrix[rows[places]])


def test_scalars_are_matched_by_their_shells() -> None:
    names, known = scalar_names(WIDER), scalar_names(LAYOUT)
    assert len(set(names)) == len(names) > len(known) == len(set(known))
    assert set(known) < set(names)


def test_the_ratio_of_units_is_that_of_proportional_scales(wider: NearsightModel) -> None:
    scale = wider.scale
    doubled = BondScale(scale.layouts, scale.centres, {pair: 2 * own for pair, own in scale.values.items()})
    np.testing.assert_allclose(unit_ratio(doubled, scale, (8, 40)), 2.0)
