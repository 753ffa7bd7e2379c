"""A real CP2K run in four forms: the same matrices, CP2K's eigenvalues, and clear words for what is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import eigh

from nearsight.errors import FormatError, InputError
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import hermiticity_error
from nearsight.units import HARTREE_IN_EV
from tests.formats.files import BASIS_EXCERPT, DATA, H_NAME, MHFO2, S_NAME, VARIANTS

SHIPPED = DATA.parent.parent / "data"


def matrices(calculation: Calculation) -> tuple[np.ndarray, np.ndarray]:
    return (to_csr(calculation.require_hamiltonian()).toarray(), to_csr(calculation.require_overlap()).toarray())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a run that can be damaged."""
    return Path(shutil.copytree(MHFO2 / "binary_upper", tmp_path / "run"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_forms_hold_the_same_matrices(variant: str) -> None:
    expected = matrices(read_any(MHFO2 / "binary_full"))
    calculation = read_any(MHFO2 / variant)
    digits = 1e-13 if variant.startswith("text") else 0.0
    for found, wanted in zip(matrices(calculation), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=digits, atol=0)
    encoding, part = variant.split("_")
    assert calculation.provenance["encoding"] == encoding
    assert calculation.provenance["entries"] == {"upper": "upper triangle", "full": "full matrix"}[part]


def test_upper_and_full_text_give_the_same_bits() -> None:
    for first, second in zip(
        matrices(read_any(MHFO2 / "text_upper")), matrices(read_any(MHFO2 / "text_full")), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("variant", VARIANTS)
def test_eigenvalues_are_those_that_cp2k_printed(variant: str) -> None:
    printed = read_any(MHFO2 / "binary_upper").eigenvalues
    assert printed is not None
    assert len(printed) == 56
    h, s = matrices(read_any(MHFO2 / variant))
    own = eigh(h, s, eigvals_only=True)[: len(printed)]
    assert np.abs(own - printed).max() / HARTREE_IN_EV < 1e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_operators_are_exactly_hermitian_and_the_overlap_is_an_overlap(variant: str) -> None:
    calculation = read_any(MHFO2 / variant)
    assert hermiticity_error(calculation.require_hamiltonian()) == 0
    assert hermiticity_error(calculation.require_overlap()) == 0
    s = matrices(calculation)[1]
    assert np.linalg.eigvalsh(s).min() > 0.01
    assert np.all(np.abs(np.diag(s) - 1) < 0.5)  # the norm, and small sums over images


def test_everything_that_the_run_says() -> None:
    calculation = read_any(MHFO2 / "binary_upper")
    assert calculation.structure.formula == "Hf4O8"
    assert calculation.structure.pbc.all()
    np.testing.assert_allclose(np.linalg.norm(calculation.structure.cell, axis=1), [5.117, 5.175, 5.291], atol=1e-9)
    assert dict(calculation.basis.shells) == {8: (0, 1), 72: (0, 0, 1, 2)}
    assert calculation.n_electrons == 96
    assert calculation.energy == pytest.approx(-325.732038078610060 * HARTREE_IN_EV, abs=1e-9)
    assert calculation.fermi == pytest.approx(0.332202613822 * HARTREE_IN_EV, abs=1e-9)
    assert calculation.provenance["code"] == "CP2K 2023.1"
    assert calculation.provenance["scf"] == "converged"
    assert calculation.provenance["potentials"] == "GTH-PBE-q12 (Hf), GTH-PBE-q6 (O)"
    assert "CUTOFF 200" in calculation.provenance["settings"]


@pytest.mark.parametrize("name", [H_NAME, "hfo2.inp", "hfo2.out"])
def test_one_file_of_the_run_stands_for_it(name: str) -> None:
    whole, by_file = read_any(MHFO2 / "binary_upper"), read_any(MHFO2 / "binary_upper" / name)
    np.testing.assert_array_equal(matrices(whole)[0], matrices(by_file)[0])
    assert by_file.energy == whole.energy


def test_a_run_with_only_an_xyz_gets_its_basis_from_the_size(run: Path) -> None:
    (run / "hfo2.inp").unlink()
    (run / "hfo2.out").unlink()
    with pytest.raises(FormatError, match=r"expected a CP2K input \(\.inp\) or an xyz .*--structure"):
        read_any(run)
    shutil.copy(MHFO2 / "mhfo2.xyz", run)
    calculation = read_any(run)
    assert calculation.basis.name == "SZV-MOLOPT-SR-GTH"
    assert calculation.provenance["basis"] == "SZV-MOLOPT-SR-GTH, guessed by the number of orbitals"
    np.testing.assert_array_equal(matrices(calculation)[0], matrices(read_any(MHFO2 / "binary_upper"))[0])


def test_a_basis_file_beside_the_input_or_given(run: Path) -> None:
    expected = read_any(run).basis
    names = {"Hf": "SZV-MOLOPT-SR-GTH-q12", "O": "SZV-MOLOPT-SR-GTH"}
    given = read_any(run, basis=names, basis_file=BASIS_EXCERPT)
    assert given.basis == expected
    text = (run / "hfo2.inp").read_text().replace("BASIS_SET SZV-MOLOPT-SR-GTH", "BASIS_SET my-own")
    (run / "hfo2.inp").write_text(text)
    with pytest.raises(FormatError, match=r"has BASIS_SET of the kind Hf MY-OWN, got .* SZV-MOLOPT-SR-GTH: they are"):
        read_any(run)
    (run / "hfo2.out").unlink()
    with pytest.raises(FormatError, match=r"expected to find the basis my-own of Hf, .*--basis-file.*BASIS_MOLOPT"):
        read_any(run)
    (run / "BASIS_MOLOPT").write_text(BASIS_EXCERPT.read_text().replace(" SZV-MOLOPT-SR-GTH-q", " my-own my-own-q"))
    assert read_any(run).basis == expected


def test_an_index_beyond_the_basis(run: Path) -> None:
    coordinates = run / "coord.inc"
    coordinates.write_text("\n".join(coordinates.read_text().splitlines()[:-1]) + "\n")
    (run / "hfo2.out").unlink()
    with pytest.raises(
        FormatError,
        match=r"expected indices 1 to 68 for 11 atoms in O 1s1p, Hf 2s1p1d, got row 1, column "
        r"69 in entry 69 \(highest index 72\); is it another structure",
    ):
        read_any(run)


def test_a_structure_with_more_atoms_than_the_matrix(run: Path) -> None:
    with open(run / "coord.inc", "a") as file:
        file.write("O 2.5 2.5 2.5\n")
    (run / "hfo2.out").unlink()
    with pytest.raises(
        FormatError,
        match="expected a diagonal element for each of the 76 orbitals, got none for 4 "
        r"\(the first is orbital 73\)",
    ):
        read_any(run)


def test_another_basis_than_the_matrix(run: Path) -> None:
    with pytest.raises(FormatError, match=r"expected the basis of the run, SZV-MOLOPT-SR-GTH .*, got --basis DZVP-M"):
        read_any(run, basis="DZVP-MOLOPT-SR-GTH")
    (run / "hfo2.out").unlink()
    with pytest.raises(FormatError, match=r"diagonal element for each of the 208 orbitals, .*has 72 orbitals: is it"):
        read_any(run, basis="DZVP-MOLOPT-SR-GTH")
    with pytest.raises(InputError, match=r"expected a basis among SZV-MOLOPT-SR-GTH, .*got 'STO-3G'"):
        read_any(run, basis="STO-3G")


def test_an_element_without_basis(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CP2K_DATA_DIR", str(run))
    text = (run / "coord.inc").read_text().replace("O ", "Xe ", 1)
    (run / "coord.inc").write_text(text)
    (run / "hfo2.inp").write_text(
        (run / "hfo2.inp").read_text().replace("&KIND O", "&KIND Xe\n BASIS_SET SZV-MOLOPT-SR-GTH\n&END\n&KIND O")
    )
    with pytest.raises(FormatError, match="which has atoms Hf4O7Xe, got atoms Hf4O8"):
        read_any(run)
    (run / "hfo2.out").unlink()
    with pytest.raises(FormatError, match="of Xe, got: expected a basis for every element, got none for Xe"):
        read_any(run)
    with pytest.raises(InputError, match=r"got none for Xe in SZV-MOLOPT-SR-GTH .*give the basis file"):
        read_any(run, basis="SZV-MOLOPT-SR-GTH")


def test_h_and_s_of_different_size(run: Path) -> None:
    h = np.fromfile(run / H_NAME, dtype=np.uint8).reshape(-1, 24)
    columns = h[:, 8:12].copy().view("<i4")[:, 0]
    h[columns <= 68].tofile(run / S_NAME)
    with pytest.raises(
        FormatError,
        match=r"S_SPIN_1-1_0\.csr: expected H and S of the same size, got H with 72 orbitals "
        r"in .*KS_SPIN_1-1_0\.csr and S with 68",
    ):
        read_any(run)


def test_a_full_matrix_that_is_not_symmetric(tmp_path: Path) -> None:
    run = Path(shutil.copytree(MHFO2 / "text_full", tmp_path / "run"))
    lines = (run / H_NAME).read_text().splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if line.split()[:2] == ["70", "3"])
    row, column, value = lines[at].split()
    lines[at] = f"{row:>8}{column:>8}{float(value) + 0.01:23.14E}\n"
    (run / H_NAME).write_text("".join(lines))
    with pytest.raises(
        FormatError,
        match=r"expected a symmetric matrix, got \|M − Mᵀ\| = 0\.01 between Hf \(atom 0\) and O "
        r"\(atom 11\)",
    ):
        read_any(run)


def test_a_full_matrix_cut_at_a_line(tmp_path: Path) -> None:
    run = Path(shutil.copytree(MHFO2 / "text_full", tmp_path / "run"))
    lines = (run / H_NAME).read_text().splitlines(keepends=True)
    (run / H_NAME).write_text("".join(lines[: len(lines) // 2]))
    with pytest.raises(FormatError, match="was the file cut off"):
        read_any(run)


def test_an_upper_triangle_cut_between_records(run: Path) -> None:
    (run / S_NAME).write_bytes((run / S_NAME).read_bytes()[: 24 * 2000])
    with pytest.raises(FormatError, match=r"S_SPIN.*expected a diagonal element .* was the file cut off"):
        read_any(run)


def test_an_output_of_another_run(run: Path) -> None:
    text = (run / "hfo2.out").read_text()
    (run / "hfo2.out").write_text(re.sub(r"(Number of orbital functions: +)72", r"\g<1>80", text))
    with pytest.raises(FormatError, match=r"hfo2\.out: expected an output with 72 orbitals .*got one with 80"):
        read_any(run)
    (run / "hfo2.out").write_text(re.sub(r"(Number of spin states +)1", r"\g<1>2", text))
    with pytest.raises(FormatError, match="got no KS_SPIN_2"):
        read_any(run)


def test_several_runs_in_one_folder(run: Path) -> None:
    shutil.copy(run / "hfo2.out", run / "second.out")
    with pytest.raises(FormatError, match=r"expected one output of CP2K, got several: hfo2\.out, second\.out"):
        read_any(run)
    assert read_any(run, output=run / "second.out").energy is not None
    (run / "second.out").write_text("a log of the queue\n")
    assert read_any(run).energy is not None
    shutil.copy(run / H_NAME, run / "other-KS_SPIN_1-1_0.csr")
    with pytest.raises(FormatError, match=r"expected a Kohn-Sham matrix .* got several"):
        read_any(run)
    assert read_any(run / H_NAME).structure.formula == "Hf4O8"


def test_matrices_that_are_not_read(run: Path) -> None:
    with pytest.raises(FormatError, match=r"expected the Kohn-Sham matrix .*got the overlap"):
        read_any(run / S_NAME)
    shutil.copy(run / H_NAME, run / "hfo2-ks-KS_SPIN_2-1_0.csr")
    with pytest.raises(FormatError, match="of 1 spin as"):
        read_any(run)
    (run / "hfo2-ks-KS_SPIN_2-1_0.csr").unlink()
    (run / H_NAME).rename(run / "hfo2-ks-KS_SPIN_1_R_1-1_0.csr")
    with pytest.raises(FormatError, match=r"expected the table after `KS CSR write"):
        read_any(run)


def test_without_overlap_or_output_there_is_just_h(run: Path) -> None:
    (run / S_NAME).unlink()
    (run / "hfo2.out").unlink()
    calculation = read_any(run)
    assert calculation.hamiltonian is not None
    assert (calculation.overlap, calculation.energy, calculation.fermi, calculation.eigenvalues) == (None,) * 4


@pytest.mark.parametrize(("name", "limit"), [("aHfO2_96_A", 1e-10), ("aHfO2_372_C", 1e-6), ("aHfO2_372_D", 1e-6)])
def test_shipped_structures_reproduce_the_printed_eigenvalues(name: str, limit: float) -> None:
    calculation = read_calculation(SHIPPED / f"{name}.h5")
    assert calculation.eigenvalues is not None
    count = len(calculation.eigenvalues)
    h, s = matrices(calculation)
    if count > 1000:  # of the large ones, some around the gap
        first, last = 1450, 1527
        own = eigh(h, s, eigvals_only=True, subset_by_index=(first, last))
        printed = calculation.eigenvalues[first : last + 1]
    else:
        own, printed = eigh(h, s, eigvals_only=True)[:count], calculation.eigenvalues
    assert np.abs(own - printed).max() / HARTREE_IN_EV < limit
    assert hermiticity_error(calculation.require_hamiltonian()) == 0
