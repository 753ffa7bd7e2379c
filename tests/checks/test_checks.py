"""The checks one by one, where real data has no such case."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nearsight.checks import overlap, subject
from nearsight.checks.completeness import shares_beyond
from nearsight.checks.duplicates import alike, fingerprint, same_atoms
from nearsight.checks.eigenvalues import levels_below
from nearsight.checks.linter import check_calculation, check_set
from nearsight.checks.orbital_order import ShellOrder, best_order, our_order
from nearsight.checks.subject import Subject
from nearsight.checks.two_centre import ShellOverlaps
from nearsight.formats.registry import read_any
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.structures.graph import pair_order
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.checks.faults import (
    PYSCF_P,
    both_in_other_order,
    crystal,
    errors_of,
    good,
    message_of,
    serious,
    two_centre_calculation,
    with_blocks,
)
from tests.random_cases import random_hfo2


def overlaps_of(l: int, order: ShellOrder, rng: np.random.Generator) -> ShellOverlaps:
    """As a file in this order has them: random distances and directions."""
    y = spherical_harmonics(rng.standard_normal((40, 3)), l)[l]
    v = np.empty_like(y)
    v[:, list(order.where)] = y * order.sign
    v *= rng.standard_normal((40, 1))
    return ShellOverlaps(1, l, 0, np.einsum("na,nb,nc,nd->abcd", v, v, y, y), 40)


@pytest.mark.parametrize("l", [1, 2, 3])
def test_any_order_and_signs_are_recovered_but_for_the_sign_of_the_shell(l: int, rng: np.random.Generator) -> None:
    for _ in range(10):
        where, sign = rng.permutation(2 * l + 1), rng.choice([-1, 1], 2 * l + 1)
        planted = ShellOrder(l, tuple(where.tolist()), tuple(sign.tolist()))
        shell = overlaps_of(l, planted, rng)
        found = best_order(shell, 1e-6)
        assert found.alignment(shell) == pytest.approx(1.0)
        assert found.where == planted.where
        assert np.abs(np.dot(found.sign, planted.sign)) == 2 * l + 1


def test_orders_are_named_after_codes(rng: np.random.Generator) -> None:
    assert "as in ORCA" in best_order(overlaps_of(1, ShellOrder(1, (2, 0, 1), (1, 1, 1)), rng), 1e-6).describe()
    orca = ShellOrder(2, (4, 2, 0, 1, 3), (1,) * 5)
    assert best_order(overlaps_of(2, orca, rng), 1e-6).describe() == "d in the order z², xz, yz, x²−y², xy (as in ORCA)"
    assert best_order(overlaps_of(2, our_order(2), rng), 1e-6) == our_order(2)


def test_data_resolved_in_r(rng: np.random.Generator) -> None:
    """In a cell that is too small for a folded operator."""
    right = two_centre_calculation(random_hfo2(8, rng))
    assert serious(check_calculation(right, cutoff=5.0)) == []
    assert not any(f.check == "orbital order" for f in check_calculation(right, cutoff=5.0))
    wrong = both_in_other_order(right, 1, *PYSCF_P)
    assert "as in PySCF" in message_of(check_calculation(wrong, cutoff=5.0), "orbital order")


def test_exchanged_images(rng: np.random.Generator) -> None:
    right = two_centre_calculation(random_hfo2(8, rng))
    h, s = right.require_hamiltonian(), right.require_overlap()
    both = check_calculation(replace(right, hamiltonian=_exchanged(h), overlap=_exchanged(s)), cutoff=5.0)
    assert "images" in errors_of(both)
    assert all("with R and −R exchanged" in f.message for f in both if f.check == "images")
    one = check_calculation(replace(right, hamiltonian=_exchanged(h)), cutoff=5.0)
    assert "R and −R are exchanged in H" in message_of(one, "transposition")


def _exchanged(operator: BlockOperator) -> BlockOperator:
    """The block of (i, j, R) at (i, j, −R)."""
    order = pair_order(operator.source, operator.target, -operator.shift)
    result = operator.on_pairs(operator.source[order], operator.target[order], -operator.shift[order])
    for pairs in operator.element_pairs.values():
        to = result.find(operator.source[pairs], operator.target[pairs], -operator.shift[pairs])
        result.put(to, operator.stack(pairs))
    return result


def test_images_that_refer_to_wrapped_atoms(rng: np.random.Generator) -> None:
    """As CP2K writes them: R between atoms at −½ … ½, while the positions are not wrapped."""
    wrapped = random_hfo2(8, rng)
    fractional = wrapped.positions @ np.linalg.inv(wrapped.cell)
    wrapped = Structure(wrapped.numbers, (fractional - np.round(fractional)) @ wrapped.cell, wrapped.cell, True)
    right = two_centre_calculation(wrapped)
    assert "images" not in errors_of(check_calculation(right, cutoff=5.0))
    moved = wrapped.translated(rng.integers(-1, 2, (len(wrapped), 3)) @ wrapped.cell)
    findings = check_calculation(replace(right, structure=moved), cutoff=5.0)
    assert "as in CP2K" in next(f for f in findings if f.check == "images").message


def test_a_small_folded_cell_is_not_guessed_at() -> None:
    findings = check_calculation(both_in_other_order(crystal(), 1, *PYSCF_P), quick=True)
    assert serious(findings) == []
    assert "not checked: the order and the signs of p of O, p of Hf, d of Hf" in message_of(findings, "orbital order")
    assert "smallest height of 5.05 Å" in message_of(findings, "images")


def test_atoms_in_another_order_than_the_matrix(rng: np.random.Generator) -> None:
    structure = good().structure
    order = np.concatenate([rng.permutation(32), 32 + rng.permutation(64)])
    findings = check_calculation(replace(good(), structure=structure.permuted(order)), quick=True)
    assert "orbital order" in errors_of(findings)
    assert any("atoms in another order" in finding.meaning for finding in findings)


def test_matrices_that_are_too_large_to_factorise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same findings from sparse matrices; levels are not compared."""
    monkeypatch.setattr(subject, "DENSE_ORBITALS", 100)
    monkeypatch.setattr(overlap, "DENSE_ORBITALS", 100)
    findings = check_calculation(good())
    assert serious(findings) == []
    assert "576 orbitals are too many" in message_of(findings, "eigenvalues")
    singular = with_blocks(good().require_overlap(), lambda blocks: 1.6 * blocks)
    assert "overlap" in errors_of(check_calculation(replace(good(), overlap=singular)))


def test_without_an_overlap_or_without_matrices() -> None:
    wrong = both_in_other_order(good(), 1, *PYSCF_P)
    findings = check_calculation(replace(wrong, overlap=None))
    assert errors_of(findings) == {"orbital order"}
    assert "p of O, Hf in the order y, z, x in H" in message_of(findings, "orbital order")
    assert serious(check_calculation(replace(good(), hamiltonian=None, overlap=None))) == []


def test_levels_are_counted_by_inertia(rng: np.random.Generator) -> None:
    for size in (1, 2, 7, 60):
        matrix = rng.standard_normal((size, size))
        matrix += matrix.T
        expected = int((np.linalg.eigvalsh(matrix) < 0).sum())
        assert levels_below(matrix) == expected


def test_a_constant_shift_of_the_levels_is_named() -> None:
    h, s = good().require_hamiltonian(), good().require_overlap()
    shifted = h.with_values(h.values + 0.5 * s.on_pairs(h.source, h.target, h.shift).values)
    found = message_of(check_calculation(replace(good(), hamiltonian=shifted)), "eigenvalues")
    assert "shifted by +0.5 eV: another zero of energy" in found


def test_shares_beyond_a_radius() -> None:
    examined = Subject("a", crystal())
    h = crystal().require_hamiltonian()
    far = examined.hamiltonian_distances > 2.4
    expected = sum(np.abs(h.stack(np.array([p]))).sum() for p in np.flatnonzero(far)) / np.abs(h.values).sum()
    assert shares_beyond(h, examined.hamiltonian_distances, [2.4, 100.0]) == [pytest.approx(expected), 0.0]
    assert examined.unfolded_radius == pytest.approx(5.117 * np.sin(np.deg2rad(99.22)) / 2, abs=1e-3)


def test_a_cutoff_that_moves_levels_is_a_warning() -> None:
    findings = [f for f in check_calculation(good(), cutoff=4.0) if f.check == "completeness"]
    assert findings[0].level == "warning"
    assert "13.2 % of Σ|H|" in findings[0].message
    assert "levels near the gap move by 91.5 meV" in findings[0].message


def molecule(numbers: list[int], positions: list[list[float]], ghost: tuple[int, ...], valence: int = 0) -> Calculation:
    """Without matrices."""
    basis = BasisSet("b", {0: ghost, 8: (0, 1), 72: (0, 0, 1, 2)}, {0: valence, 8: 6, 72: 12})
    return Calculation(Structure(np.array(numbers), np.array(positions), np.zeros((3, 3)), False), basis)


def test_atoms_and_ghosts_that_are_too_near() -> None:
    fine = molecule([8, 72, 0], [[0, 0, 0], [2, 0, 0], [0, 2, 0]], (0, 1))
    assert serious(check_calculation(fine)) == []
    near = molecule([8, 72], [[0, 0, 0], [1.1, 0, 0]], (0, 1))
    assert "got 1.100 Å" in message_of(serious(check_calculation(near)), "geometry")
    ghost = molecule([8, 0], [[0, 0, 0], [0.4, 0, 0]], (0, 1))
    assert errors_of(check_calculation(ghost)) == {"ghosts"}
    same = molecule([8, 8], [[0, 0, 0], [0.01, 0, 0]], (0, 1))
    assert errors_of(check_calculation(same)) == {"geometry"}


def test_ghosts_with_odd_functions_or_electrons() -> None:
    odd = serious(check_calculation(molecule([8, 0], [[0, 0, 0], [2, 0, 0]], (0, 0))))
    assert [finding.level for finding in odd] == ["warning"]
    filled = check_calculation(molecule([8, 0], [[0, 0, 0], [2, 0, 0]], (0, 1), valence=6))
    assert "expected ghosts without electrons, got 6" in message_of(serious(filled), "ghosts")


def test_rotated_copies_and_copies_in_a_set(rng: np.random.Generator) -> None:
    structure = random_hfo2(8, rng)
    bare = Calculation(structure, good().basis)
    turned = structure.rotated(Rotation.random(random_state=rng).as_matrix())
    (found,) = check_set([("a", bare), ("b", replace(bare, structure=turned))])
    assert found.level == "warning"
    assert "a rotated or mirrored copy" in found.message


@pytest.mark.parametrize("pbc", [False, True])
def test_geometries_of_a_molecule_are_no_copies(pbc: bool) -> None:
    random = np.random.default_rng(0)
    water = np.array([[0, 0, 0], [0.757, 0.586, 0], [-0.757, 0.586, 0]])
    box, basis = 10 * np.eye(3) * pbc, BasisSet("a", {1: (0,), 8: (0, 1)}, {})
    places = [water + random.normal(0, 0.02, (3, 3)) for _ in range(300)]
    items = [(f"w{k}", Calculation(Structure([8, 1, 1], p, box, [pbc] * 3), basis)) for k, p in enumerate(places)]
    assert check_set(items[:200], items[200:]) == []
    bent = water.copy()
    bent[2] = [-0.77, 0.568, 0.0]  # the same two bonds, another angle
    turned = Rotation.random(random_state=1).apply(places[3][[0, 2, 1]]) + np.array([0.1, 4.2, 0.3])
    for extra, name in ((turned, "w3, copy"), (np.round(places[7], 4) + 0.5, "w7, copy")):
        copy = Calculation(Structure([8, 1, 1], extra, box, [pbc] * 3), basis)
        (found,) = check_set(items, [("copy", copy)])
        assert (found.level, found.file) == ("error", name)
    pair = [("a", Calculation(Structure([8, 1, 1], p, box, [pbc] * 3), basis)) for p in (water, bent)]
    assert check_set(pair) == []


def test_structures_that_are_only_similar(rng: np.random.Generator) -> None:
    structure = random_hfo2(8, rng)
    other = structure.translated(rng.normal(0, 0.1, (len(structure), 3)))
    assert not alike(fingerprint(structure), fingerprint(other))
    assert not same_atoms(structure, other)
    bare = Calculation(structure, good().basis)
    assert check_set([("a", bare)], tests=[("b", replace(bare, structure=other))]) == []
    swapped = structure.numbers.copy()
    swapped[[np.argmax(swapped == 8), np.argmax(swapped == 72)]] = 72, 8
    assert (
        check_set(
            [("a", bare), ("b", replace(bare, structure=Structure(swapped, structure.positions, structure.cell, True)))]
        )
        == []
    )


def test_settings_are_compared_by_what_they_mean() -> None:
    structures = [random_hfo2(4, np.random.default_rng(seed)) for seed in range(3)]
    said = [
        {"settings": "CUTOFF 300 Ry, EPS_SCF 1e-6; some words", "code": "CP2K 2023.1 (Debian package cp2k)"},
        {"settings": "CUTOFF 300, EPS_SCF 1.0E-6", "code": "CP2K 2023.1"},
        {},
    ]
    same = [(f"{k}", Calculation(s, good().basis, provenance=p)) for k, (s, p) in enumerate(zip(structures, said))]
    assert check_set(same) == []
    mixed = [
        *same[:2],
        (
            "x",
            replace(
                same[2][1],
                cutoff=8.0,
                provenance={
                    "settings": "CUTOFF 300, EPS_SCF 1e-8",
                    "code": "CP2K 2024.1",
                    "potentials": "GTH-PBE-q12 (Hf)",
                },
            ),
        ),
    ]
    findings = check_set(mixed)
    assert {finding.level for finding in findings} == {"warning"}
    assert {finding.message.split(" in the whole")[0] for finding in findings} == {
        "expected one EPS_SCF",
        "expected one code",
        "expected one kept range",
    }
    assert {finding.file for finding in findings} == {"x"}


def test_different_bases_of_an_element_are_an_error() -> None:
    structure = random_hfo2(4, np.random.default_rng(0))
    other = BasisSet("DZVP", {8: (0, 0, 1, 1, 2), 72: (0, 0, 1, 2)}, {8: 6, 72: 12})
    findings = check_set(
        [
            ("a", Calculation(structure, good().basis)),
            ("b", Calculation(random_hfo2(4, np.random.default_rng(1)), other)),
        ]
    )
    (error,) = [finding for finding in findings if finding.level == "error"]
    assert "expected one shells of O in the whole set, got sp in a; ssppd in b" in error.message


def test_eigenvalues_at_k_points(tmp_path: Path) -> None:
    """A real run with 2 × 2 × 2 k-points (tests/data/README.md); one H(R) that is 1 % off is noticed."""
    with zipfile.ZipFile(Path(__file__).parents[1] / "data" / "cp2k_images.zip") as archive:
        archive.extractall(tmp_path)
    right = read_any(tmp_path / "k222")
    assert serious(check_calculation(right)) == []
    h = right.require_hamiltonian()
    values = np.where(np.repeat(h.on_site, h.lengths), h.values, 1.01 * h.values)
    wrong = replace(right, hamiltonian=h.with_values(values))
    assert "eigenvalues printed at k = [" in message_of(check_calculation(wrong), "eigenvalues")


@pytest.mark.parametrize("factor", [HARTREE_IN_EV, 1 / HARTREE_IN_EV, 1.0])
def test_units_of_all_electrons(factor: float) -> None:
    """By the 1s level of the heaviest element, of which the file says that it is in the basis."""
    silicon = read_calculation(Path(__file__).parents[2] / "data" / "silicon_2.h5")
    basis = replace(silicon.basis, valence={14: 14})
    h = replace(silicon.require_hamiltonian(), basis=basis)
    h.values[h.offsets[np.flatnonzero(h.on_site)]] = -1790.0
    h = h.with_values(h.values * factor)
    s = replace(silicon.require_overlap(), basis=basis)
    found = check_calculation(replace(silicon, basis=basis, hamiltonian=h, overlap=s), quick=True)
    assert [f.check for f in found if "1s level of Si" in f.message] == ([] if factor == 1 else ["units"])
    printed = np.array([-1795.0 * factor])  # in the same unit as H
    calculation = replace(silicon, basis=basis, hamiltonian=h, overlap=s, eigenvalues=printed, k_eigenvalues=None)
    found = check_calculation(calculation, quick=True)
    assert [f.check for f in found if "1s level of Si" in f.message] == ([] if factor == 1 else ["units"])


@pytest.mark.parametrize(("scale", "numbers", "far"), [(1.0, 14, False), (1.89, 14, True), (1.89, 18, False)])
def test_structures_without_bonds_are_told(scale: float, numbers: int, far: bool) -> None:
    """As of lengths in Bohr; rare gases have none."""
    known = read_calculation(Path(__file__).parents[2] / "data" / "silicon_2.h5").structure
    basis = BasisSet("x", {numbers: (0,)}, {})
    structure = Structure(np.full(2, numbers), known.positions * scale, known.cell * scale, known.pbc)
    found = [f for f in check_calculation(Calculation(structure, basis)) if "expected bonds" in f.message]
    assert [f.level for f in found] == ["warning"] * far
