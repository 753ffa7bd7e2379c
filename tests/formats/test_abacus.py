"""ABACUS' files of both layouts: round trips, structure and shells from the log, bad files, real files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from nearsight.api.exports import export
from nearsight.api.files import import_calculation
from nearsight.errors import FormatError, InputError
from nearsight.formats.abacus_log import PRINTED_EV, RYDBERG_IN_EV
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import bloch
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.units import BOHR_IN_ANGSTROM
from tests.formats.abacus_files import MESH, write_run
from tests.formats.samples import assert_orders_are_ours, largest_difference, levels, needs_samples, sample
from tests.formats.spin_files import both_spins, magnet, write_abacus_present
from tests.fuzz.seeds import small_calculation

SILICON = Path(__file__).parents[2] / "data" / "silicon_2.h5"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of silicon in the former layout, not to be changed."""
    folder = tmp_path_factory.mktemp("abacus")
    write_run(folder, read_calculation(SILICON))
    return folder


def test_a_run_with_its_log(run: Path) -> None:
    """Structure, shells, valence, Fermi level and levels come from the log and istate.info."""
    known = read_calculation(SILICON)
    for path in (run, run / "OUT.x", run / "OUT.x" / "data-HR-sparse_SPIN0.csr"):
        found = read_any(path)
        assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-13
        assert largest_difference(found.overlap, known.overlap) == 0
        np.testing.assert_allclose(found.structure.positions, known.structure.positions, atol=1e-9)
        np.testing.assert_allclose(found.structure.cell, known.structure.cell, atol=1e-9)
        assert found.basis == known.basis
        assert found.basis.valence[14] == 4
        assert found.fermi == pytest.approx(known.fermi, abs=1e-12)
    np.testing.assert_array_equal(found.k_points, known.k_points)
    np.testing.assert_allclose(found.k_eigenvalues, known.k_eigenvalues, atol=1e-9)


def test_the_present_layout_is_written_and_read(tmp_path: Path) -> None:
    """It has no place for shells, and lists elements one after another."""
    known = small_calculation()
    export(known, tmp_path / "x", "abacus")
    with pytest.raises(FormatError, match="--basis O=2s2p1d,Hf=2s2p1d"):
        read_any(tmp_path / "x")
    found = read_any(tmp_path / "x", basis=_words(known))
    assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-13
    assert largest_difference(found.overlap, known.overlap) == 0
    np.testing.assert_allclose(found.structure.positions, known.structure.positions, atol=1e-12)
    assert found.fermi == pytest.approx(known.fermi, abs=1e-14)


def _words(calculation) -> dict[str, str]:
    return {
        symbol: "".join(f"{shells.count(l)}{'spdf'[l]}" for l in sorted(set(shells)))
        for symbol, shells in (("Hf", calculation.basis.shells[72]), ("O", calculation.basis.shells[8]))
    }


def test_the_present_layout_holds_one_step(tmp_path: Path) -> None:
    export(SILICON, tmp_path / "x", "abacus")
    _twice("hrs1_nao.csr")(tmp_path / "x")
    with pytest.raises(FormatError, match="a run of one step, in line"):
        read_any(tmp_path / "x", basis={"Si": "2s2p1d"})


def read_as_abacus(path: Path) -> dict[tuple[int, ...], np.ndarray]:
    """H(R) by the rules of ABACUS' own csr_reader.cpp of 3.11, which counts lines."""
    lines = iter(path.read_text().splitlines())
    assert next(lines).split()[3] == "1"
    for _ in range(3):  # title, spins, spin
        next(lines)
    size, count = (int(next(lines).split()[0]) for _ in range(2))
    assert not next(lines)
    for _ in range(6):  # name, constant, vectors, elements
        next(lines)
    atoms = sum(map(int, next(lines).split()))
    assert next(lines) == " Direct"
    for _ in range(atoms):
        next(lines)
    assert not next(lines)
    for _ in range(8):
        assert next(lines).startswith(" #")

    def numbers(n: int) -> np.ndarray:
        found: list[float] = []
        while len(found) < n:
            found += map(float, next(lines).split())
        return np.array(found)

    result = {}
    for _ in range(count):
        assert not next(lines)
        *cell, n = map(int, next(lines).split())
        parts = []
        for title, length in (("values", n), ("column indices", n), ("row pointers", size + 1)):
            assert next(lines) == f" # CSR {title}"
            parts.append(numbers(length))
        values, columns, pointers = parts
        result[tuple(cell)] = csr_matrix((values, columns.astype(int), pointers.astype(int)), (size, size)).toarray()
    assert next(lines, None) is None
    return result


def test_what_is_written_is_read_by_abacus_rules(tmp_path: Path) -> None:
    """Every line where it expects one, no R without elements, and the matrix that was meant."""
    known = read_calculation(SILICON)
    h = known.require_hamiltonian()
    far = h.shift[np.argmax(np.abs(h.shift).sum(axis=1))]
    gone = (h.shift == far).all(axis=1) | (h.shift == -far).all(axis=1)
    values = np.where(np.repeat(gone, h.lengths), 0.0, h.values)
    export(replace(known, hamiltonian=h.with_values(values)), tmp_path / "x", "abacus")
    found = read_as_abacus(tmp_path / "x" / "hrs1_nao.csr")
    assert len(found) == len(np.unique(h.shift, axis=0)) - 2
    k = np.array([0.1, 0.2, -0.3])
    whole = sum(m * np.exp(2j * np.pi * (np.array(cell) @ k)) for cell, m in found.items()) * RYDBERG_IN_EV
    ours = bloch(h.with_values(values), k).toarray()
    np.testing.assert_allclose(np.linalg.eigvalsh(whole), np.linalg.eigvalsh(ours), atol=1e-10)


HEAD = """ --- Ionic Step 1 ---
 # print {letter} matrix in real space {letter}(R)
 1 # number of spin directions
 1 # spin index
 2 # number of localized basis
 1 # number of Bravais lattice vector R

 user_defined_lattice
 8.09641
 0 0.5 0.5
 0.5 0 0.5
 0.5 0.5 0
 Si
 2
 Direct
 0 0 0
 0.25 0.25 0.25
{note}
 #                               CSR Format                             #

 0 0 0 4
 # CSR values
 1.0 0.1 0.1 1.0
 # CSR column indices
 0 1 0 1
 # CSR row pointers
 0 2 4
"""
"""The head is that of ABACUS' own test (scf_out_hsr), whose STRU has a lattice constant of 15.3 Bohr."""


def test_the_lattice_constant_of_the_present_layout_is_in_angstrom(tmp_path: Path) -> None:
    (tmp_path / "hrs1_nao.csr").write_text(HEAD.format(letter="H", note=""))
    found = read_any(tmp_path, basis={"Si": "1s"})
    assert found.structure.cell[0, 1] * 2 == pytest.approx(15.3 * BOHR_IN_ANGSTROM, abs=1e-4)
    assert found.overlap is None


def test_a_log_with_other_words_is_not_needed(tmp_path: Path) -> None:
    """Structure and Fermi level stand in the matrices, shells are given; of the log the energy is taken."""
    export(SILICON, tmp_path / "x", "abacus")
    (tmp_path / "x" / "running_scf.log").write_text(" nspin = 1\n #SCF IS CONVERGED#\n !FINAL_ETOT_IS -197.14 eV\n")
    found = read_any(tmp_path / "x", basis={"Si": "2s2p1d"})
    assert found.energy == pytest.approx(-197.14, rel=1e-6)
    assert found.fermi == pytest.approx(read_calculation(SILICON).fermi)
    with pytest.raises(FormatError, match=r"the shells of each element \(READING ATOM TYPE\), got none; give them"):
        read_any(tmp_path / "x")


def write_states(path: Path, calculation: Calculation, spins: int = 1) -> None:
    """eig_occ.txt as `ModuleIO::write_eig_file` has it; k-points are in 2π over the lattice constant, 1 Å."""
    levels_of = np.asarray(calculation.k_eigenvalues).reshape(spins, len(MESH), -1)
    text = f"1     # ionic step\n Electronic state energy (eV) and occupations\n Spin number {spins}\n"
    cartesian = MESH @ np.linalg.inv(calculation.structure.cell).T
    for spin, own in enumerate(levels_of, 1):
        for k, (place, energies) in enumerate(zip(cartesian, own), 1):
            text += f" spin={spin} k-point={k}/{len(MESH)} Cartesian=" + " ".join(f"{x:.9f}" for x in place)
            text += " (123 plane wave)\n"
            text += "".join(f" {n} {e / PRINTED_EV:.14f} 0.0\n" for n, e in enumerate(energies, 1)) + "\n"
    path.write_text(text)


@pytest.mark.parametrize("spins", [1, 2])
def test_levels_of_the_present_layout(spins: int, tmp_path: Path) -> None:
    """eig_occ.txt: at the k-points that it names H and S have its levels."""
    known = magnet(read_calculation(SILICON))
    folder = tmp_path
    if spins == 2:
        write_abacus_present(folder, known)
    else:
        known = both_spins(known)[0]
        folder = tmp_path / "x"
        export(known, folder, "abacus")
    write_states(folder / "eig_occ.txt", known, spins)
    found = import_calculation(folder, basis={"Si": "2s2p1d"})
    np.testing.assert_allclose(found.k_points, MESH, atol=1e-8)
    np.testing.assert_allclose(found.k_eigenvalues, known.k_eigenvalues, atol=1e-9)
    assert found.provenance["levels"] == "those that the code printed"
    text = (folder / "eig_occ.txt").read_text()
    for wrong, message in (
        (text[: text.rindex(" spin=")], "at every k-point"),
        (text + text, "got it twice; are there levels of several steps"),
        (text.replace("k-point=1/2", "k-point=1/9"), "at every k-point"),
        (text.replace(" 0.0\n", "\n", 1), "`n energy occupation`"),
        ("", "at every k-point"),
    ):
        (folder / "eig_occ.txt").write_text(wrong)
        with pytest.raises(FormatError, match=message):
            read_any(folder, basis={"Si": "2s2p1d"})


def test_matrices_summed_at_gamma_and_the_newest_name_of_s(tmp_path: Path) -> None:
    """As `gamma_only 1` writes them, with a line that says so."""
    note = "# representation: gamma-only folded matrix; stored R-space contributions are summed into R = (0, 0, 0)"
    for name, letter in (("hrs1_nao.csr", "H"), ("sr_nao.csr", "S")):
        (tmp_path / name).write_text(HEAD.format(letter=letter, note=note))
    found = read_any(tmp_path, basis={"Si": "1s"})
    assert found.hamiltonian.folded
    assert found.overlap.folded
    (tmp_path / "srs1_nao.csr").write_text(HEAD.format(letter="S", note=note))
    with pytest.raises(FormatError, match=r"S of one version of ABACUS, got srs1_nao\.csr and sr_nao\.csr"):
        read_any(tmp_path, basis={"Si": "1s"})


def test_present_layout_as_abacus_breaks_its_lines(tmp_path: Path) -> None:
    """Six values or 16 indices a line, 5 digits, a Fermi level in the head."""
    export(SILICON, tmp_path / "x", "abacus")
    path = tmp_path / "x" / "hrs1_nao.csr"
    text = re.sub(r"^((?: ?-?[\d.e+-]+){20,})$", _broken, path.read_text(), flags=re.M)
    path.write_text(re.sub(r"# spin index.*", "# spin index, E_Fermi = 5.4321 eV", text))
    found, known = read_any(tmp_path / "x", basis={"Si": "2s2p1d"}), read_calculation(SILICON)
    assert found.fermi == pytest.approx(5.4321, rel=1e-6)
    assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-13


def _broken(found: re.Match[str]) -> str:
    numbers = found[1].split()
    return "\n".join(" " + " ".join(numbers[k : k + 6]) for k in range(0, len(numbers), 6))


def test_several_runs_are_not_chosen_from(run: Path, tmp_path: Path) -> None:
    for name in ("OUT.a", "OUT.b"):
        shutil.copytree(run / "OUT.x", tmp_path / name)
    with pytest.raises(FormatError, match=r"got OUT\.a, OUT\.b; name the one"):
        read_any(tmp_path)
    assert read_any(tmp_path / "OUT.a").structure.formula == "Si2"


def test_matrices_at_gamma_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="summed at Γ"):
        export("data/aHfO2_96_A.h5", tmp_path / "x", "abacus")


def _replace(name: str, old: str, new: str, count: int = 1) -> Callable[[Path], None]:
    def change(out: Path) -> None:
        text = (out / name).read_text()
        assert old in text
        (out / name).write_text(text.replace(old, new, count))

    return change


def _cut(out: Path) -> None:
    path = out / H
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _present(out: Path) -> None:
    """S of a version since 3.11 beside H of one before it."""
    export(SILICON, out / "x", "abacus")
    (out / "x" / "srs1_nao.csr").rename(out / "srs1_nao.csr")
    shutil.rmtree(out / "x")


def _twice(name: str) -> Callable[[Path], None]:
    return lambda out: (out / name).write_text((out / name).read_text() * 2)


def _copied(out: Path) -> None:
    shutil.copy(out / H, out / "data-HR-sparse_SPIN1.csr")


def _first_value(new: str) -> Callable[[Path], None]:
    def change(out: Path) -> None:
        lines = (out / H).read_text().split("\n")
        lines[4] = " ".join([new, *lines[4].split()[1:]])
        (out / H).write_text("\n".join(lines))

    return change


H, LOG = "data-HR-sparse_SPIN0.csr", "running_scf.log"
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (_cut, r"in line \d+"),
    "two layouts": (_present, "matrices of one version of ABACUS"),
    "two steps": (_twice(H), "a run of one step, in line"),
    "levels twice": (_twice("istate.info"), "every k-point once"),
    "a second spin": (_copied, "expected the first of 1 spins, got spin 1 and data-HR-sparse_SPIN1"),
    "spin in the log": (_replace(LOG, "nspin = 1", "nspin = 2"), "the first of 2 spins and data-HR-sparse_SPIN1"),
    "spin-orbit coupling": (_first_value("(1.0e-3,2.0e-4)"), r"complex ones in line 5 \(nspin = 4\)"),
    "a word": (_first_value("x"), "numbers in line 5"),
    "not a number": (_first_value("nan"), "finite numbers in line 5"),
    "one direction changed": (_first_value("0.7"), "expected a Hermitian matrix"),
    "other size": (_replace(H, "of H(R): 26", "of H(R): 25"), "line"),
    "too many cells": (_replace(H, "number of H(R): ", "number of H(R): 9"), "line `Rx Ry Rz n`"),
    "other shells": (_replace(LOG, "L=2, number of zeta = 1", "L=2, number of zeta = 2"), "expected 36 orbitals"),
    "no shells": (_replace(LOG, "number of zeta", "zetas", 99), "expected the structure in the log"),
    "atoms that move": (_replace(LOG, "CARTESIAN COORD", "DIRECT COORDINATES\n a\nCARTESIAN COORD"), "--structure"),
    "a label of nobody": (_replace(LOG, "atom label = Si", "atom label = 7"), "begin with a chemical symbol"),
    "levels cut off": (lambda out: (out / "istate.info").write_text("BAND Kpoint = 1 (0 0 0)\n 1 x 1\n"), "a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, run: Path, tmp_path: Path) -> None:
    spoil, message = BAD[case]
    out = Path(shutil.copytree(run / "OUT.x", tmp_path / "OUT.x"))
    spoil(out)
    with pytest.raises(FormatError, match=message) as caught:
        read_any(out)
    assert str(out) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1 # number of spin", "4 # number of spin", "one of 4 spin directions"),
        ("1 # number of spin", "2 # number of spin", "the first of 2 spins and hrs2_nao"),
        ("# CSR column", "# columns", "CSR column indices"),
        (" Direct", " Anything", "Direct or Cartesian"),
        (" Si\n", " Qq\n", "chemical symbols"),
        ("# number of Bravais", "# of Bravais", "number of Bravais"),
    ],
)
def test_bad_files_of_the_present_layout(old: str, new: str, message: str, tmp_path: Path) -> None:
    export(SILICON, tmp_path / "x", "abacus")
    _replace("hrs1_nao.csr", old, new)(tmp_path / "x")
    with pytest.raises(FormatError, match=message):
        read_any(tmp_path / "x", basis={"Si": "2s2p1d"})


@needs_samples
def test_a_real_run_and_its_twin() -> None:
    """MoS₂; the twin in deepx, of another program, lacks H where S has no block, and has ABACUS' constants."""
    ours, twin = sample("abacus_MoS2"), sample("abacus_MoS2/as_deepx")
    h, s = twin.require_hamiltonian(), twin.require_overlap()
    assert largest_difference(ours.overlap, s) < 1e-10
    there = ours.require_hamiltonian().on_pairs(h.source, h.target, h.shift)
    np.testing.assert_allclose(there.values * (13.605698 / 13.605693122994), h.values, atol=1e-10)
    assert ours.require_hamiltonian().n_pairs > s.n_pairs
    assert_orders_are_ours(ours)


@needs_samples
def test_levels_of_a_real_run_are_those_that_abacus_printed() -> None:
    ours = sample("abacus_MoS2")
    own = levels(ours, ours.k_points)[:, : ours.k_eigenvalues.shape[1]]
    assert np.abs(own - ours.k_eigenvalues).max() < 5e-7
