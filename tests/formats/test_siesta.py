"""SIESTA's .HSX and .TSHS: round trips, sisl as a second reader, bad files, real files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nearsight.api.exports import export
from nearsight.api.spectra import spectrum, states
from nearsight.api.starts import start_files
from nearsight.cli.main import app
from nearsight.electronic.density_matrix import contraction, density_operator
from nearsight.electronic.k_points import monkhorst_pack
from nearsight.electronic.real_space_density import real_space_density
from nearsight.errors import FormatError, InputError
from nearsight.formats.fortran_records import record
from nearsight.formats.registry import read_any
from nearsight.formats.siesta import write_density
from nearsight.operators.bloch import bloch, fold
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from tests.formats.samples import assert_orders_are_ours, largest_difference, levels, needs_samples, path_of, sample
from tests.formats.siesta_files import records, write_hsx
from tests.fuzz.seeds import small_calculation

SILICON = Path(__file__).parents[2] / "data" / "silicon_2.h5"
WORDS = {"Hf": "2s1p1d", "O": "1s1p"}


@pytest.mark.parametrize("version", [1, 2])
def test_a_run_with_species_and_levels(version: int, tmp_path: Path) -> None:
    known = small_calculation()
    found = read_any(write_hsx(tmp_path / "x.HSX", known, version))
    _same(found, known)
    assert found.basis.valence == known.basis.restricted([8, 72]).valence
    np.testing.assert_allclose(found.k_points, known.k_points, atol=1e-12)
    np.testing.assert_array_equal(found.k_eigenvalues, known.k_eigenvalues)
    assert read_any(tmp_path).fermi == pytest.approx(known.fermi, abs=1e-12)


def _same(found: Calculation, known: Calculation) -> None:
    assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-14
    assert largest_difference(found.overlap, known.overlap) == 0
    np.testing.assert_allclose(found.structure.positions, known.structure.positions, atol=1e-14)
    np.testing.assert_allclose(found.structure.cell, known.structure.cell, atol=1e-14)
    np.testing.assert_array_equal(found.structure.numbers, known.structure.numbers)
    assert found.fermi == pytest.approx(known.fermi, abs=1e-14)


def test_written_for_transiesta(tmp_path: Path) -> None:
    """It says neither elements, which .XV does, nor shells."""
    known = small_calculation()
    files = export(known, tmp_path / "x.TSHS", "tshs")
    assert [file.name for file in files] == ["x.TSHS", "x.XV"]
    _same(read_any(tmp_path / "x.TSHS", basis=WORDS), known)
    with pytest.raises(FormatError, match=r"--basis O=2s2p1d,Hf=2s2p1d"):
        read_any(tmp_path / "x.TSHS")
    (tmp_path / "O.ion").write_text(_ion(8, (0, 1)))
    (tmp_path / "Hf.ion").write_text(_ion(72, (0, 0, 1, 2)))
    found = read_any(tmp_path / "x.TSHS")
    _same(found, known)
    assert found.basis.valence == {8: 6, 72: 6}
    (tmp_path / "x.XV").unlink()
    with pytest.raises(FormatError, match="--structure"):
        read_any(tmp_path / "x.TSHS", basis=WORDS)


def _ion(z: int, momenta: tuple[int, ...]) -> str:
    lines = [f" {z}   # Atomic number", " 6.0000    # Valence charge"]
    return "\n".join([*lines, *(f"  {l}  2  1  0  2.000000   #orbital l, n, z, is_polarized" for l in momenta)]) + "\n"


def test_matrices_at_gamma(tmp_path: Path) -> None:
    known = small_calculation()
    h, s = fold(known.require_hamiltonian()), fold(known.require_overlap())
    export(replace(known, hamiltonian=h, overlap=s), tmp_path / "x.TSHS", "tshs")
    found = read_any(tmp_path / "x.TSHS", basis=WORDS)
    assert found.require_hamiltonian().folded
    assert largest_difference(found.hamiltonian, h) < 1e-14


def test_h_where_s_has_no_block(tmp_path: Path) -> None:
    """As of projectors of pseudopotentials: nothing of H is lost."""
    known = small_calculation()
    s = known.require_overlap()
    fewer = replace(known, overlap=s.select(s.on_site))
    export(fewer, tmp_path / "x.TSHS", "tshs")
    found = read_any(tmp_path / "x.TSHS", basis=WORDS)
    assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-14
    assert largest_difference(found.overlap, fewer.overlap) == 0


def test_sisl_reads_the_same(tmp_path: Path) -> None:
    """It takes the Fermi level as zero; orbitals are in the same order, with SIESTA's signs (−1)ᵐ."""
    sisl = pytest.importorskip("sisl")
    known = replace(read_calculation(SILICON), fermi=-1.5)
    export(known, tmp_path / "x.TSHS", "tshs")
    theirs = sisl.get_sile(tmp_path / "x.TSHS").read_hamiltonian()
    k = np.array([0.1, 0.2, -0.4])
    m = np.concatenate([np.arange(-l, l + 1) for l in known.basis.shells[14]] * 2)
    signs = np.outer((-1.0) ** m, (-1.0) ** m)
    s = bloch(known.overlap, k).toarray() * signs
    h = bloch(known.hamiltonian, k).toarray() * signs
    np.testing.assert_allclose(theirs.Sk(k, format="array"), s, atol=1e-12)
    np.testing.assert_allclose(theirs.Hk(k, format="array"), h + 1.5 * s, atol=2e-6)  # eV of their own


def test_several_runs_are_not_chosen_from(good: Path, tmp_path: Path) -> None:
    for name in ("a.HSX", "b.HSX"):
        shutil.copy(good / "x.HSX", tmp_path / name)
    with pytest.raises(FormatError, match=r"got a\.HSX, b\.HSX; name the file"):
        read_any(tmp_path)


def test_the_name_of_the_file_is_theirs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.TSHS"):
        export(SILICON, tmp_path / "x.h5", "tshs")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siesta")
    write_hsx(folder / "x.HSX", small_calculation())
    return folder


def _bytes(old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        raw = path.read_bytes()
        assert old in raw
        path.write_bytes(raw.replace(old, new, 1))

    return change


def _int(*numbers: int) -> bytes:
    return np.array(numbers, np.int32).tobytes()


SIZES = (3, 18, 1, 2)
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:-300]), "it is cut off"),
    "another version": (_bytes(_int(4, 2, 4), _int(4, 7, 4)), "version 1 or 2, got 7"),
    "SIESTA 4": (lambda p: p.write_bytes(_int(16, 18, 18, 1, 100, 16)), "SIESTA 4 or older"),
    "spin": (_bytes(_int(*SIZES), _int(3, 18, 2, 2)), "with S in record"),
    "spins that are not collinear": (_bytes(_int(*SIZES), _int(3, 18, 4, 2)), "got one of 4 spin components"),
    "spin-orbit": (_bytes(_int(*SIZES), _int(3, 18, 8, 2)), "got one of 8 spin components"),
    "other size": (_bytes(_int(*SIZES), _int(3, 19, 1, 2)), "expected"),
    "a huge size": (_bytes(_int(*SIZES), _int(3, 2**31 - 1, 1, 2)), "numbers of atoms, orbitals and cells"),
    "a label of nobody": (_bytes(b"Hf   ", b"qq   "), "begin with a chemical symbol"),
    "a broken shell": (_bytes(_int(3, 2, 1, 3, 2, 1), _int(3, 2, 1, 3, 1, 1)), "whole shells of Hf"),
    "more records": (lambda p: p.write_bytes(p.read_bytes() + _int(4, 1, 4)), "nothing after the matrices"),
    "not a record": (lambda p: p.write_bytes(b"HSX" * 100), "record"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, good: Path, tmp_path: Path) -> None:
    spoil, message = BAD[case]
    path = Path(shutil.copy(good / "x.HSX", tmp_path))
    spoil(path)
    with pytest.raises(FormatError, match=message) as caught:
        read_any(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.EIG", "0.1\n 4 2 2\n", "levels of 1 spins as in the matrices, got 2 spins"),
        ("x.EIG", "0.1\n 4 1 2\n 1 2 3\n", "4 levels at 2"),
        ("x.KP", "9\n", "x.EIG"),
    ],
)
def test_bad_levels(name: str, text: str, message: str, good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=message):
        read_any(tmp_path / "x.HSX")


def test_a_ghost_of_an_element_is_not_taken_for_its_atom(tmp_path: Path) -> None:
    """Two species of oxygen, one with no electrons: the file does not say that it has no nucleus."""
    path = tmp_path / "x.HSX"
    write_hsx(path, small_calculation())
    parts = [bytes(part) for part in records(path)]
    kinds = np.frombuffer(parts[4], np.int32).copy()
    kinds[-6:-3] = [1, 2, 3]
    parts[4] = kinds.tobytes()
    parts[2] = _int(3, 18, 1, 3) + parts[2][16:]
    parts[5] += b"O_ghost".ljust(20) + np.float64(0).tobytes() + _int(4)
    parts.insert(8, parts[7])
    path.write_bytes(b"".join(record(part) for part in parts))
    with pytest.raises(FormatError, match=r"species of O with 6 and 0 electrons; is one a ghost\?"):
        read_any(path)


@pytest.mark.parametrize("given", [False, True])
def test_atoms_of_another_structure_are_not_taken(given: bool, tmp_path: Path) -> None:
    """A .TSHS does not say what atoms they are: .XV, or the structure that is given, has them at their places."""
    known = small_calculation()
    export(known, tmp_path / "x.TSHS", "tshs")
    assert read_any(tmp_path / "x.TSHS", basis=WORDS).structure.formula == "HfO2"
    other = known.structure.permuted(np.array([0, 2, 1]))
    if given:
        other.to_ase().write(tmp_path / "y.extxyz")
        options = {"structure": tmp_path / "y.extxyz"}
    else:
        lines = (tmp_path / "x.XV").read_text().splitlines()
        (tmp_path / "x.XV").write_text("\n".join([*lines[:5], lines[6], lines[5]]))
        options = {}
    with pytest.raises(FormatError, match=r"expected the atoms of x\.TSHS in their order, got atom 1"):
        read_any(tmp_path / "x.TSHS", basis=WORDS, **options)


def test_matrices_of_two_names_are_not_chosen_from(good: Path, tmp_path: Path) -> None:
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    export(small_calculation(), tmp_path / "x.TSHS", "tshs")
    assert read_any(tmp_path).structure.formula == "HfO2"
    (tmp_path / "x.TSHS").rename(tmp_path / "y.TSHS")
    with pytest.raises(FormatError, match=r"got x\.HSX, y\.TSHS; name the file"):
        read_any(tmp_path)


@needs_samples
def test_a_real_run_and_its_twin() -> None:
    """Silicon; the twin in deepx, of another program, has an eV of its own."""
    ours, twin = sample("siesta_Si"), sample("siesta_Si/as_deepx")
    assert largest_difference(ours.overlap, twin.overlap) < 1e-10
    h = ours.require_hamiltonian()
    scaled = h.with_values(h.values * (27.2113845 / 27.211386245988))
    assert largest_difference(scaled, twin.hamiltonian) < 1e-10
    assert_orders_are_ours(ours)


@needs_samples
def test_levels_of_a_real_run_are_those_that_siesta_printed() -> None:
    """To the SCF tolerance: H is that of the density after the last diagonalisation."""
    ours = sample("siesta_Si")
    own = levels(ours, ours.k_points[:20])
    assert np.abs(own - ours.k_eigenvalues[:20]).max() < 2e-4


@needs_samples
@pytest.mark.parametrize("name", ["graphene.TSHS", "electrode/electrode.TSHS"])
def test_graphene_of_transiesta_touches_at_the_fermi_level(name: str) -> None:
    """At a third of b₂ in these cells, so H and the Fermi level have one zero; orders are SIESTA's."""
    ours = sample(f"tbtrans_graphene/{name}")
    assert_orders_are_ours(ours)
    nearest = np.sort(np.abs(levels(ours, np.array([[0.0, 0, 0], [0, 1 / 3, 0]])) - ours.fermi), axis=1)
    assert nearest[:, 1].min() < 2e-5


def test_a_density_to_start_from(tmp_path: Path) -> None:
    """Its trace with S are the electrons, with H the band energy; at Γ it is P of the states; rows are SIESTA's."""
    known = read_calculation(SILICON)
    points, weights = monkhorst_pack((2, 2, 1), through_gamma=True)
    density = real_space_density(known, points, weights, 8)
    assert contraction(density, known.overlap) == pytest.approx(8)
    levels_at = np.sort(levels(known, points), axis=1)[:, :4]
    assert contraction(density, known.hamiltonian) == pytest.approx(2 * float(weights @ levels_at.sum(axis=1)))
    folded = replace(known, hamiltonian=fold(known.hamiltonian), overlap=fold(known.overlap))
    gamma = real_space_density(folded, np.zeros((1, 3)), np.ones(1), 8)
    exact = density_operator(states(folded), spectrum(folded).filling(), folded.hamiltonian)
    np.testing.assert_allclose(gamma.values, exact.values, atol=1e-10)
    said = start_files(known, siesta=tmp_path / "si.DM", mesh=(2, 2, 1))
    assert "SystemLabel si" in said
    found = [bytes(part) for part in records(tmp_path / "si.DM")]
    size, spins, *cells = np.frombuffer(found[0], np.int32)
    per_row = np.frombuffer(found[1], np.int32)
    assert (size, spins, len(per_row), len(found)) == (26, 1, 26, 2 + 2 * 26)
    assert (np.array(cells) == 2 * np.abs(density.shift).max(axis=0) + 1).all()
    columns, values = (np.frombuffer(found[k], kind) for k, kind in ((2 + 5, np.int32), (2 + 26 + 5, np.float64)))
    assert len(columns) == len(values) == per_row[5]
    home = columns <= 26  # row 5 is p(y) of the second shell p: odd m, of the opposite sign in SIESTA
    own = density.block(0, 0)[5] * np.array([1, 1, -1, 1, -1, -1, 1, -1, 1, -1, 1, -1, 1]) * -1
    np.testing.assert_allclose(values[home][:13], own, atol=1e-14)
    bad = {r"ends in \.DM": {"siesta": tmp_path / "si.dm"}, "SIESTA alone": {"cp2k": tmp_path / "x", "mesh": (1, 1, 1)}}
    for message, wrong in bad.items():
        with pytest.raises(InputError, match=message):
            start_files(known, **wrong)
    shown = CliRunner().invoke(app, ["start", str(SILICON), "--siesta", str(tmp_path / "si.DM"), "--mesh", "2,2,1"])
    assert "DM.UseSaveDM true" in shown.output


@needs_samples
def test_the_density_is_siesta_s_own() -> None:
    """Silicon (sisl's files), where the samples have it: all its elements, to the tolerance of its SCF."""
    folder = path_of("wannier90_Si")
    if not (folder / "silicon.DM").is_file():
        pytest.skip("the samples have no folder wannier90_Si")
    own = read_any(folder / "silicon.HSX")
    weights = np.loadtxt(folder / "silicon.KP", skiprows=1)[:, -1]
    density = real_space_density(own, own.k_points, weights, own.n_electrons)
    with tempfile.TemporaryDirectory() as place:
        write_density(Path(place) / "x.DM", density)
        ours, theirs = (
            [bytes(part) for part in records(file)] for file in (Path(place) / "x.DM", folder / "silicon.DM")
        )
    assert ours[0] == theirs[0]
    size = len(ours) // 2 - 1
    for row in range(size):
        found, known = (
            dict(zip(np.frombuffer(x[2 + row], np.int32).tolist(), np.frombuffer(x[2 + size + row], "f8").tolist()))
            for x in (ours, theirs)
        )
        assert max(abs(found[column] - value) for column, value in known.items()) < 1e-4
