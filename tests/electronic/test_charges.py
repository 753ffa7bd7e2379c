"""Charges from H and S."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.electronic.filling import occupations
from nearsight.electronic.populations import atomic_charges
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import permute, rotate
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.random_cases import HFO2_SZV, pairs_of, random_hfo2, random_operator, random_overlap

DATA = Path(__file__).parents[2] / "data"


def chain(levels: list[float], hopping: float, overlap: float, valence: dict[int, int]) -> Calculation:
    """Atoms with one s orbital each; the first is hydrogen-like (1), the others (2)."""
    n = len(levels)
    structure = Structure([1] + [2] * (n - 1), [[2.0 * k, 0, 0] for k in range(n)], np.zeros((3, 3)), np.zeros(3, bool))
    basis = BasisSet("one s", {1: (0,), 2: (0,)}, valence)
    graph = build_graph(structure, 2.5)

    def operator(on_site: list[float], off_site: float) -> BlockOperator:
        empty = zeros(structure.numbers, basis, *pairs_of(graph), False)
        values = np.where(empty.on_site, np.array(on_site)[empty.source], off_site)
        return empty.with_values(values)

    return Calculation(structure, basis, operator(levels, hopping), operator([1.0] * n, overlap))


def random_calculation() -> Calculation:
    rng = np.random.default_rng(5)
    structure = random_hfo2(4, rng)
    graph = build_graph(structure, 4.0)
    return Calculation(
        structure,
        HFO2_SZV,
        random_operator(structure, graph, HFO2_SZV, rng),
        random_overlap(structure, graph, HFO2_SZV, rng),
    )


def test_two_levels() -> None:
    """H = [[−Δ, t], [t, Δ]] without overlap, two electrons: the charge of the first atom is −Δ/√(Δ² + t²)."""
    for kind in ("loewdin", "mulliken"):
        charges = atomic_charges(chain([-0.7, 0.7], -0.4, 0.0, {1: 1, 2: 1}), kind)
        expected = -0.7 / np.hypot(0.7, 0.4)
        np.testing.assert_allclose(charges, [expected, -expected], atol=1e-12)


def test_mulliken_shares_an_overlap_and_loewdin_does_not() -> None:
    """One electron pair in the state of lower energy, against populations from c directly."""
    calculation = chain([-1.0, -0.2], -0.9, 0.4, {1: 1, 2: 1})
    h, s = np.array([[-1.0, -0.9], [-0.9, -0.2]]), np.array([[1.0, 0.4], [0.4, 1.0]])
    levels, states = np.linalg.eig(np.linalg.inv(s) @ h)
    c = states[:, np.argmin(levels)]
    c = c / np.sqrt(c @ s @ c)
    values, vectors = np.linalg.eigh(s)
    root = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(atomic_charges(calculation, "mulliken"), 1 - 2 * c * (s @ c), atol=1e-12)
    np.testing.assert_allclose(atomic_charges(calculation, "loewdin"), 1 - 2 * (root @ c) ** 2, atol=1e-12)


@pytest.mark.parametrize("kind", ["loewdin", "mulliken"])
def test_charges_add_up_and_go_with_the_atoms(kind: str, rng: np.random.Generator) -> None:
    calculation = random_calculation()
    charges = atomic_charges(calculation, kind)
    assert charges.sum() == pytest.approx(0, abs=1e-9)
    assert np.ptp(charges) > 0.1
    assert atomic_charges(calculation, kind, charge=3).sum() == pytest.approx(3, abs=1e-9)
    h, s, structure = calculation.require_hamiltonian(), calculation.require_overlap(), calculation.structure
    folded = replace(calculation, hamiltonian=fold(h), overlap=fold(s))
    np.testing.assert_allclose(atomic_charges(folded, kind), charges, atol=1e-9)
    order = rng.permutation(len(structure))
    other = Calculation(structure.permuted(order), HFO2_SZV, permute(h, order), permute(s, order))
    np.testing.assert_allclose(atomic_charges(other, kind), charges[order], atol=1e-9)
    turned = Calculation(structure.rotated(-np.eye(3)), HFO2_SZV, rotate(h, -np.eye(3)), rotate(s, -np.eye(3)))
    np.testing.assert_allclose(atomic_charges(turned, kind), charges, atol=1e-9)


def test_the_zero_of_energy_does_not_matter() -> None:
    calculation = random_calculation()
    h, s = fold(calculation.require_hamiltonian()), fold(calculation.require_overlap())
    assert np.array_equal(h.source, s.source)
    moved = replace(calculation, hamiltonian=h.with_values(h.values + 2.5 * s.values))
    np.testing.assert_allclose(atomic_charges(moved), atomic_charges(calculation), atol=1e-8)


def test_degenerate_levels_share_their_electrons() -> None:
    np.testing.assert_allclose(occupations(np.array([-1.0, 0.5, 0.5, 0.5, 2.0]), 5).occupations, [2, 1, 1, 1, 0])
    np.testing.assert_allclose(occupations(np.array([-1.0, 0.5, 1.0]), 3).occupations, [2, 1, 0])
    np.testing.assert_allclose(occupations(np.array([-1.0, 0.5]), 0).occupations, [0, 0])


def test_real_charges() -> None:
    """Amorphous HfO₂ in SZV: cations positive, anions negative, little spread."""
    calculation = read_calculation(DATA / "aHfO2_96_A.h5")
    charges, hf = atomic_charges(calculation, "mulliken"), calculation.structure.numbers == 72
    assert charges.sum() == pytest.approx(0, abs=1e-8)
    assert 1.2 < charges[hf].min() < charges[hf].max() < 1.6
    assert -0.85 < charges[~hf].min() < charges[~hf].max() < -0.55


def test_what_has_no_charges_is_refused() -> None:
    calculation = random_calculation()
    with pytest.raises(InputError, match="expected an overlap matrix S"):
        atomic_charges(replace(calculation, overlap=None))
    with pytest.raises(InputError, match="mulliken or loewdin, got 'other'"):
        atomic_charges(calculation, "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="electrons in 2 orbitals"):
        atomic_charges(chain([0.0, 0.0], -0.1, 0.0, {1: 1, 2: 8}))
    with pytest.raises(InputError, match="positive definite"):
        atomic_charges(chain([0.0, 0.0], -0.1, 1.2, {1: 1, 2: 1}))
