"""Ten faults planted into real data are found and named, and good data is passed in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.checks.linter import check_calculation, check_files, check_set
from nearsight.checks.subject import LEVELS
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.operators.symmetry import with_reverses
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.checks.faults import (
    A96,
    C372,
    PYSCF_P,
    both_in_other_order,
    crystal,
    errors_of,
    good,
    in_other_order,
    initial,
    message_of,
    serious,
    with_blocks,
)

QUICK_AND_WHOLE = pytest.mark.parametrize("quick", [True, False])


@QUICK_AND_WHOLE
def test_good_data_is_passed_in_silence(quick: bool) -> None:
    assert serious(check_calculation(good(), quick=quick)) == []
    assert serious(check_calculation(replace(good(), h0=initial()), quick=quick)) == []
    assert serious(check_calculation(crystal(), quick=quick)) == []


def test_good_data_of_372_atoms_is_passed_in_silence() -> None:
    assert serious(check_calculation(read_any(C372), quick=True)) == []


@pytest.mark.slow
def test_good_data_of_372_atoms_is_passed_in_silence_as_a_whole() -> None:
    findings = check_calculation(read_any(C372))
    assert serious(findings) == []
    assert any("8 Å: 0.168 % of Σ|H|" in finding.message for finding in findings)


@QUICK_AND_WHOLE
@pytest.mark.parametrize("factor", [HARTREE_IN_EV, 1 / HARTREE_IN_EV])
@pytest.mark.parametrize("printed", [True, False])
def test_wrong_units(factor: float, printed: bool, quick: bool) -> None:
    h = good().require_hamiltonian()
    scaled = replace(
        good(), hamiltonian=h.with_values(h.values * factor), eigenvalues=good().eigenvalues if printed else None
    )
    findings = check_calculation(scaled, quick=quick)
    assert "units" in errors_of(findings)
    assert f"by the factor {factor:.6g}" in message_of(findings, "units")
    if printed and not quick:
        assert ("multiplied by 27.2114" if factor > 1 else "multiplied by 1/27.2114") in message_of(
            findings, "eigenvalues"
        )


@QUICK_AND_WHOLE
def test_p_in_the_order_of_pyscf(quick: bool) -> None:
    findings = check_calculation(both_in_other_order(good(), 1, *PYSCF_P), quick=quick)
    assert errors_of(serious(findings)) == {"orbital order"}
    assert "p of O, Hf" in message_of(findings, "orbital order")
    assert "p in the order x, y, z (as in PySCF)" in message_of(findings, "orbital order")


@QUICK_AND_WHOLE
@pytest.mark.parametrize(("m", "label"), [(0, "xy"), (2, "z²"), (4, "x²−y²")])
def test_the_sign_of_one_d_function(m: int, label: str, quick: bool) -> None:
    sign = np.where(np.arange(5) == m, -1.0, 1.0)
    findings = check_calculation(both_in_other_order(good(), 2, np.arange(5), sign), quick=quick)
    assert errors_of(findings) == {"orbital order"}
    assert f"the opposite sign of d({label})" in message_of(findings, "orbital order")


@QUICK_AND_WHOLE
def test_a_hamiltonian_in_another_order_than_the_overlap(quick: bool) -> None:
    wrong = replace(good(), hamiltonian=in_other_order(good().require_hamiltonian(), 1, *PYSCF_P))
    findings = check_calculation(wrong, quick=quick)
    assert {"orbital order", "eigenvalues"} <= errors_of(findings)
    found = message_of(findings, "orbital order")
    assert "in H, got p in the order x, y, z" in found
    assert "H and S do not agree" in found


@QUICK_AND_WHOLE
def test_a_matrix_before_self_consistency(quick: bool) -> None:
    findings = check_calculation(replace(good(), hamiltonian=initial()), quick=quick)
    assert errors_of(findings) == {"eigenvalues"}
    assert "not that of the converged run" in message_of(findings, "eigenvalues")


def test_a_matrix_that_is_h0() -> None:
    wrong = replace(good(), hamiltonian=initial(), h0=initial(), eigenvalues=None)
    findings = check_calculation(wrong, quick=True)
    assert errors_of(findings) == {"self-consistency"}
    assert "before the first step" in message_of(findings, "self-consistency")


def test_a_run_that_did_not_converge() -> None:
    wrong = replace(good(), provenance={**good().provenance, "scf": "NOT converged"})
    assert errors_of(check_calculation(wrong, quick=True)) == {"self-consistency"}


@QUICK_AND_WHOLE
def test_transposed_blocks(quick: bool) -> None:
    """Hermitian all the same: every block between different atoms written column by column and read row by row."""
    h = with_blocks(good().require_hamiltonian(), lambda b: b.transpose(0, 2, 1).reshape(b.shape))
    findings = check_calculation(replace(good(), hamiltonian=h), quick=quick)
    assert "transposition" in errors_of(findings)
    assert "100 % of the near pairs" in message_of(findings, "transposition")
    assert "blocks of H are transposed" in message_of(findings, "transposition")


@pytest.mark.parametrize("calculation", [good, crystal])
def test_blocks_taken_for_those_of_the_reverse_pair(calculation) -> None:
    """Only between atoms of one element, and nothing but the blocks tells it: H stays Hermitian."""
    h = calculation().require_hamiltonian()
    changed = h.with_values(h.values.copy())
    for (a, b), pairs in h.element_pairs.items():
        if a == b:
            changed.put(pairs, h.stack(pairs).transpose(0, 2, 1))
    findings = check_calculation(replace(calculation(), hamiltonian=changed, eigenvalues=None), quick=True)
    assert errors_of(findings) == {"transposition"}


def test_half_of_the_matrix_transposed() -> None:
    h = good().require_hamiltonian()
    changed = h.with_values(h.values.copy())
    for (a, b), pairs in h.element_pairs.items():
        upper = pairs[h.source[pairs] < h.target[pairs]]
        if a == b:
            changed.put(upper, h.stack(upper).transpose(0, 2, 1))
    findings = check_calculation(replace(good(), hamiltonian=changed), quick=True)
    assert {"hermiticity", "transposition"} <= errors_of(findings)


def test_one_triangle() -> None:
    h = good().require_hamiltonian()
    half = h.select(h.source <= h.target)
    assert with_reverses(half).n_pairs == h.n_pairs
    findings = check_calculation(replace(good(), hamiltonian=half), quick=True)
    assert "only one triangle" in message_of(findings, "hermiticity")


@QUICK_AND_WHOLE
@pytest.mark.parametrize(("shift", "cause"), [(5.0, "another zero of energy"), (-3.0, "another zero of energy")])
def test_a_shifted_fermi_level(shift: float, cause: str, quick: bool) -> None:
    assert crystal().fermi is not None
    wrong = replace(crystal(), fermi=crystal().fermi + shift)
    findings = check_calculation(wrong, quick=quick)
    assert errors_of(findings) == {"Fermi level"}
    assert cause in message_of(findings, "Fermi level")


def test_the_fermi_level_of_a_metal_is_compared_with_the_levels_of_its_mesh() -> None:
    lead = read_any(A96.parent / "Al32_lead.h5")  # its levels at Γ alone begin 0.6 eV above the Fermi level
    assert "Fermi level" not in errors_of(check_calculation(lead, quick=True))
    assert lead.fermi is not None
    moved = replace(lead, fermi=lead.fermi + 2.0)
    assert "Fermi level" in errors_of(check_calculation(moved, quick=True))


def test_a_fermi_level_in_hartree() -> None:
    wrong = replace(crystal(), fermi=crystal().fermi / HARTREE_IN_EV)
    assert "Multiplied by 27.2114 it would be" in message_of(check_calculation(wrong, quick=True), "Fermi level")


@QUICK_AND_WHOLE
def test_an_overlap_that_is_not_positive_definite(quick: bool) -> None:
    s = good().require_overlap()
    wrong = replace(good(), overlap=with_blocks(s, lambda blocks: 1.6 * blocks))
    findings = check_calculation(wrong, quick=quick)
    assert "overlap" in errors_of(findings)
    smallest = np.linalg.eigvalsh(to_csr(wrong.require_overlap()).toarray())[0]
    assert smallest < 0
    assert f"smallest eigenvalue {smallest:.2g}"[:-1] in message_of(findings, "overlap")


def test_a_truncated_file(tmp_path: Path) -> None:
    data = A96.read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    findings = check_files([tmp_path / "cut.h5", tmp_path / "absent.h5"], quick=True)
    assert [finding.check for finding in findings] == ["file", "file"]
    assert errors_of(findings) == {"file"}


def test_mixed_cutoffs_of_the_grid() -> None:
    settings = good().provenance["settings"].replace("CUTOFF 300", "CUTOFF 500", 1)
    said = {**good().provenance, "settings": settings}
    moved = replace(good(), structure=_compressed(good().structure), provenance=said)
    findings = check_set([("a", good()), ("b", moved)])
    assert errors_of(findings) == {"settings"}
    assert "expected one CUTOFF in the whole set, got 300 in a; 500 in b" in message_of(findings, "settings")


def _compressed(structure: Structure) -> Structure:
    return Structure(structure.numbers, 0.97 * structure.positions, 0.97 * structure.cell, structure.pbc)


def test_a_test_structure_that_is_in_the_training_set(rng: np.random.Generator) -> None:
    structure = good().structure
    copy = structure.translated(np.array([1.3, -7.0, 22.0])).permuted(rng.permutation(len(structure)))
    other = Structure(copy.numbers, copy.positions, np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]]) @ copy.cell, True)
    bare = replace(good(), hamiltonian=None, overlap=None)
    for leaked in (structure, copy, other):
        findings = check_set([("a", good())], tests=[("t", replace(bare, structure=leaked))])
        assert errors_of(findings) == {"duplicates"}
        assert "up to a translation" in message_of(findings, "duplicates")


def test_findings_come_worst_first() -> None:
    findings = check_calculation(both_in_other_order(good(), 1, *PYSCF_P), quick=True)
    ranks = [LEVELS.index(finding.level) for finding in findings]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 1


def test_a_sensitive_overlap_is_noted_not_blamed() -> None:
    """a-GST in DZVP is good data whose levels multiply errors of H."""
    found = check_calculation(read_any(Path(__file__).parents[2] / "data" / "aGST_70_train.h5"), quick=True)
    assert serious(found) == []
    assert any("smallest eigenvalue of S is 0.003" in f.message and "by up to 26" in f.meaning for f in found)
