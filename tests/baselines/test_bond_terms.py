"""Bond terms turn with the bond, know nothing of which atom is first, and are recovered from data that are such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nearsight.baselines import bond_terms, bond_terms_fit
from nearsight.baselines.bond_terms import BondPart, BondTerms, count_features
from nearsight.baselines.bond_terms_fit import fit_bond_terms
from nearsight.baselines.fit import fit_baseline
from nearsight.errors import InputError
from nearsight.operators.blocks import ElementPair, zeros
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import atom_rotation
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.random_cases import pairs_of

BASIS = BasisSet("sp", {1: (0,), 8: (0, 1)}, {1: 1, 8: 6})
LAYOUT = CoupledLayout(BASIS)
CUTOFF = 3.5
PAIRS: tuple[ElementPair, ...] = ((1, 1), (1, 8), (8, 8))


@pytest.fixture(autouse=True)
def few_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as some dozens of molecules determine without any smoothness."""
    monkeypatch.setattr(bond_terms, "LENGTHS", 3)
    monkeypatch.setattr(bond_terms, "DENSITIES", 3)


def random_terms(seed: int = 1) -> BondTerms:
    rng = np.random.default_rng(seed)
    weights: dict[BondPart, np.ndarray] = {}
    for pair in PAIRS:
        layout = BondLayout(LAYOUT, pair)
        for block in layout.blocks:
            shape = count_features(layout, block), block.channels
            weights[pair, block.parity, block.order] = rng.standard_normal(shape)
    return BondTerms(LAYOUT, CUTOFF, weights)


def molecule(rng: np.random.Generator) -> Structure:
    """H₂O₂, every atom up to 0.2 Å off its place."""
    places = np.array([[0.0, 0.7, 0.0], [0.0, -0.7, 0.0], [0.8, 0.9, 0.5], [-0.8, -0.9, 0.5]])
    return Structure(
        np.array([8, 8, 1, 1]), places + rng.uniform(-0.2, 0.2, (4, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool)
    )


def blocks_of(terms: BondTerms, structure: Structure) -> Mapping[tuple[int, int], np.ndarray]:
    """Blocks of the bonds from an atom Z_i to an atom Z_j, Z_i ≤ Z_j, in both directions where these are equal."""
    graph = build_graph(structure, CUTOFF)
    densities, found = terms.densities(structure, graph), {}
    for edge, (i, j) in enumerate(zip(graph.source, graph.target)):
        pair = int(structure.numbers[i]), int(structure.numbers[j])
        if pair[0] <= pair[1]:
            found[int(i), int(j)] = terms(pair, graph.vector[[edge]], densities[[i]], densities[[j]])[0]
    return found


@pytest.mark.exact
@pytest.mark.parametrize("inverted", [False, True])
def test_blocks_turn_with_the_molecule(inverted: bool, rng: np.random.Generator) -> None:
    terms, structure = random_terms(), molecule(rng)
    rotation = Rotation.random(random_state=rng).as_matrix() * (-1 if inverted else 1)
    turned = replace(structure, positions=structure.positions @ rotation.T)
    before, after = blocks_of(terms, structure), blocks_of(terms, turned)
    matrices = {z: atom_rotation(BASIS, z, rotation) for z in (1, 8)}
    for (i, j), block in before.items():
        left, right = (matrices[int(structure.numbers[k])] for k in (i, j))
        np.testing.assert_allclose(after[i, j], left @ block @ right.T, atol=1e-11)


@pytest.mark.exact
def test_the_opposite_bond_has_the_transposed_block(rng: np.random.Generator) -> None:
    found = blocks_of(random_terms(), molecule(rng))
    for pair in ((0, 1), (2, 3)):
        np.testing.assert_allclose(found[pair], found[pair[::-1]].T, atol=1e-12)
        assert np.abs(found[pair]).max() > 1e-2


def test_the_order_of_atoms_does_not_matter(rng: np.random.Generator) -> None:
    terms, structure, order = random_terms(), molecule(rng), np.array([2, 0, 3, 1])
    other = Structure(structure.numbers[order], structure.positions[order], structure.cell, structure.pbc)
    before, after = blocks_of(terms, structure), blocks_of(terms, other)
    for (i, j), block in after.items():
        np.testing.assert_allclose(block, before[int(order[i]), int(order[j])], atol=1e-12)


def calculations(count: int, seed: int = 3, noise: float = 0.0) -> list[Calculation]:
    """Molecules whose blocks between atoms are those of random terms."""
    rng, terms, made = np.random.default_rng(seed), random_terms(), []
    for _ in range(count):
        structure = molecule(rng)
        operator = zeros(structure.numbers, BASIS, *pairs_of(build_graph(structure, CUTOFF)), False)
        known = blocks_of(terms, structure)
        for (zi, zj), rows in operator.element_pairs.items():
            blocks = np.zeros((len(rows), BASIS.n_orbitals(zi), BASIS.n_orbitals(zj)))
            for block, row in zip(blocks, rows):
                i, j = int(operator.source[row]), int(operator.target[row])
                if i == j:
                    block[:] = np.eye(len(block))
                else:
                    block[:] = known[i, j] if (i, j) in known else known[j, i].T
                    block += noise * rng.standard_normal(block.shape)
            operator.put(rows, 0.01 * HARTREE_IN_EV * blocks)
        made.append(Calculation(structure, BASIS, operator))
    return made


def test_terms_are_recovered_from_molecules_and_predict_others() -> None:
    known, other = calculations(80), calculations(5, seed=11)
    fitted = fit_bond_terms(known, fit_baseline(known, LAYOUT, CUTOFF))
    assert fitted.terms.pairs == PAIRS
    exact, worst = random_terms(), 0.0
    for calculation in other:
        found, true = (blocks_of(t, calculation.structure) for t in (fitted.terms, exact))
        worst = max(worst, *(float(np.abs(found[k] - 0.01 * true[k]).max()) for k in true))
    size = max(float(np.abs(b).max()) for b in true.values()) * 0.01
    assert worst < 0.02 * size
    for before, after in fitted.errors.values():
        assert after < 0.1 * before


def test_each_molecule_is_predicted_by_fits_that_have_not_seen_it() -> None:
    """One that is changed changes all predictions but its own."""
    known = calculations(40)
    baseline = fit_baseline(known, LAYOUT, CUTOFF)
    changed = [known[0], *known[1:]]
    h = known[7].require_hamiltonian()
    changed[7] = replace(known[7], hamiltonian=h.with_values(1.02 * h.values))
    first, second = (fit_bond_terms(some, baseline, factors=(1e-6,)) for some in (known, changed))
    assert (1, 8) in first.terms.pairs
    for pair in set(first.terms.pairs) & set(second.terms.pairs):
        np.testing.assert_array_equal(first.unseen[7][pair], second.unseen[7][pair])
        assert not np.array_equal(first.unseen[8][pair], second.unseen[8][pair])


def test_noise_chooses_a_stronger_penalty() -> None:
    """With noise, the weakest penalty is worse than what is chosen, in molecules that were not fitted."""
    known = calculations(40, noise=0.1)
    baseline = fit_baseline(known, LAYOUT, CUTOFF)
    chosen = fit_bond_terms(known, baseline).errors
    weakest = fit_bond_terms(known, baseline, factors=bond_terms_fit.FACTORS[-1:]).errors
    assert all(chosen[pair][1] <= weakest[pair][1] for pair in PAIRS)
    assert any(chosen[pair][1] < 0.9 * weakest[pair][1] for pair in PAIRS)


def test_terms_come_back_from_arrays_and_others_are_refused() -> None:
    terms = random_terms()
    arrays = terms.arrays()
    again = BondTerms.of_arrays(LAYOUT, CUTOFF, arrays)
    assert all(np.array_equal(again.weights[k], v) for k, v in terms.weights.items())
    with pytest.raises(InputError, match="expected bond terms of shape"):
        BondTerms.of_arrays(LAYOUT, CUTOFF, arrays | {"1-8.0.0": arrays["1-8.0.0"][1:]})


def test_of_very_many_molecules_some_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are predicted by the terms themselves."""
    known = calculations(30)
    monkeypatch.setattr(bond_terms_fit, "MOST", 6 * 20)
    fitted = fit_bond_terms(known, fit_baseline(known, LAYOUT, CUTOFF), factors=(1e-6,))
    chosen = bond_terms_fit.chosen_structures(known)
    assert len(chosen) == 20
    assert (chosen[0], chosen[-1]) == (0, 29)
    left = min(set(range(30)) - set(chosen))
    expected = bond_terms_fit.blocks_between(fitted.terms, known[left].structure)
    assert (1, 8) in expected
    np.testing.assert_array_equal(fitted.unseen[left][1, 8], expected[1, 8])
