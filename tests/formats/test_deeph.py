"""DeepH's two layouts: round trips, a reader of somebody else, orders of orbitals, bad files, real files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nearsight.api.exports import export
from nearsight.checks.linter import check_calculation
from nearsight.errors import FormatError, InputError
from nearsight.formats import deeph_legacy, deepx
from nearsight.formats.options import ReadOptions
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import bloch, fold
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import permute
from nearsight.structures.structure import Structure
from tests.formats import deeph_script
from tests.formats.samples import assert_orders_are_ours, levels, needs_samples, path_of, sample
from tests.fuzz.seeds import small_calculation

SILICON = Path(__file__).parents[2] / "data" / "silicon_2.h5"
LAYOUTS = {"deepx": (deepx, "hamiltonian"), "deeph": (deeph_legacy, "hamiltonians")}


def same(one: Calculation, other: Calculation) -> None:
    for name in ("numbers", "positions", "cell"):
        np.testing.assert_array_equal(getattr(one.structure, name), getattr(other.structure, name))
    assert one.basis == other.basis
    assert one.fermi == other.fermi
    for name in ("hamiltonian", "overlap"):
        a, b = getattr(one, name), getattr(other, name)
        for field in ("source", "target", "shift", "values"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [lambda: read_calculation(SILICON), small_calculation], ids=["silicon", "HfO2"])
def test_round_trip_to_the_last_bit(layout: str, make: Callable[[], Calculation], tmp_path: Path) -> None:
    calculation = make()
    export(calculation, tmp_path / "x", layout)
    back = read_any(tmp_path / "x")
    same(back, calculation)
    assert dict(back.basis.valence) == dict(calculation.basis.valence)
    np.testing.assert_array_equal(back.structure.pbc, calculation.structure.pbc)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_molecule_stays_one(layout: str, tmp_path: Path) -> None:
    """It is written into a cell, which DeepH needs."""
    known = small_calculation()
    h, s = (o.select(~o.shift.any(axis=1)) for o in (known.require_hamiltonian(), known.require_overlap()))
    isolated = Structure(known.structure.numbers, known.structure.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    export(replace(known, structure=isolated, hamiltonian=h, overlap=s), tmp_path / "x", layout)
    back = read_any(tmp_path / "x").structure
    assert not back.pbc.any()
    assert back.volume > 20**3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_somebody_else_reads(layout: str, tmp_path: Path) -> None:
    """Levels at a general k-point, from the files alone."""
    calculation = read_calculation(SILICON)
    export(calculation, tmp_path / "x", layout)
    k = np.array([0.1, -0.23, 0.4])
    blocks = deeph_script.deepx_blocks if layout == "deepx" else deeph_script.legacy_blocks
    suffix = "" if layout == "deepx" else "s"
    theirs = deeph_script.levels(
        blocks(tmp_path / "x" / f"hamiltonian{suffix}.h5"), blocks(tmp_path / "x" / f"overlap{suffix}.h5"), k
    )
    np.testing.assert_allclose(theirs, levels(calculation, k[None])[0], atol=1e-9)


def test_shells_in_openmx_order(tmp_path: Path) -> None:
    """p is x, y, z and d is z², x²−y², xy, xz, yz there; ours are y, z, x and xy, yz, z², xz, x²−y²."""
    export(SILICON, tmp_path / "new", "deepx")
    export(SILICON, tmp_path / "old", "deeph")
    ours = deeph_script.deepx_blocks(tmp_path / "new" / "hamiltonian.h5")
    theirs = deeph_script.legacy_blocks(tmp_path / "old" / "hamiltonians.h5")
    names = ["1s", "2s", *(f"{n}p{m}" for n in (1, 2) for m in "yzx"), "xy", "yz", "zz", "xz", "xx-yy"]
    listed = ["1s", "2s", *(f"{n}p{m}" for n in (1, 2) for m in "xyz"), "zz", "xx-yy", "xy", "xz", "yz"]
    order = [names.index(name) for name in listed]
    assert ours.keys() == theirs.keys()
    for key, block in ours.items():
        np.testing.assert_array_equal(theirs[key], block[np.ix_(order, order)])


def test_atoms_that_are_not_grouped_are_put_together(tmp_path: Path) -> None:
    """POSCAR lists elements one after another; the matrices follow."""
    calculation = small_calculation()
    order = np.array([1, 0, 2])
    mixed = replace(
        calculation,
        structure=calculation.structure.permuted(order),
        hamiltonian=permute(calculation.require_hamiltonian(), order),
        overlap=permute(calculation.require_overlap(), order),
    )
    export(mixed, tmp_path / "x", "deepx")
    back = read_any(tmp_path / "x")
    assert back.structure.numbers.tolist() == [8, 8, 72]
    regrouped = np.array([0, 2, 1])
    expected = permute(mixed.require_hamiltonian(), regrouped)
    np.testing.assert_array_equal(back.require_hamiltonian().values, expected.values)


def test_matrices_at_gamma(tmp_path: Path) -> None:
    """deepx says in a key of its own that they are summed; the first layout has no place for it."""
    calculation = small_calculation()
    h, s = (fold(operator) for operator in (calculation.require_hamiltonian(), calculation.require_overlap()))
    folded = replace(calculation, hamiltonian=h, overlap=s)
    export(folded, tmp_path / "x", "deepx")
    back = read_any(tmp_path / "x").require_hamiltonian()
    assert back.folded
    np.testing.assert_array_equal(back.values, h.values)
    with pytest.raises(InputError, match="summed at Γ"):
        export(folded, tmp_path / "y", "deeph")


def test_predictions_have_their_own_name(tmp_path: Path) -> None:
    calculation = replace(read_calculation(SILICON), provenance={"predicted": "yes"})
    for layout, (module, _) in LAYOUTS.items():
        files = export(calculation, tmp_path / layout, layout)
        assert module.PREDICTION in [file.name for file in files]
        assert read_any(tmp_path / layout).provenance["hamiltonian"].startswith("a prediction")


def test_a_prediction_need_not_be_hermitian(tmp_path: Path) -> None:
    """Theirs are not; the Hermitian part is read."""
    export(replace(small_calculation(), provenance={"predicted": "yes"}), tmp_path / "x", "deepx")
    path = tmp_path / "x" / "hamiltonian_pred.h5"
    with h5py.File(path, "r+") as file:
        file["entries"][3] += 0.1
    change = read_any(tmp_path / "x").require_hamiltonian().values - small_calculation().require_hamiltonian().values
    assert np.abs(change).max() == pytest.approx(0.05)
    path.rename(path.with_name("hamiltonian.h5"))
    with pytest.raises(FormatError, match="expected a Hermitian matrix"):
        read_any(tmp_path / "x")


@pytest.mark.parametrize("layout", ["deepx", "deeph"])
@pytest.mark.parametrize("charge", [1.0, 2.0, -2.0])
def test_charges_come_back(layout: str, charge: float, tmp_path: Path) -> None:
    """With the valence, so that levels are filled as before."""
    known = replace(read_calculation(SILICON), charge=charge)
    export(known, tmp_path / "x", layout)
    found = read_any(tmp_path / "x")
    assert (found.charge, found.n_electrons, found.basis.valence) == (charge, known.n_electrons, {14: 4})


def test_s_of_an_orthogonal_basis_is_one(tmp_path: Path) -> None:
    """Without a file of S; the basis says so."""
    export(replace(small_calculation(), overlap=None), tmp_path / "x", "deepx")
    assert read_any(tmp_path / "x").overlap is None
    _json("info.json", orthogonal_basis=True)(tmp_path / "x")
    found = read_any(tmp_path / "x").require_overlap()
    np.testing.assert_array_equal(bloch(found, np.zeros(3)).toarray(), np.eye(found.n_orbitals))


def test_a_fermi_level_beyond_all_levels_is_found(good: Path, tmp_path: Path) -> None:
    """Where the number of electrons is not known."""
    shutil.copytree(good / "deeph", tmp_path / "x")
    said = json.loads((tmp_path / "x" / "info.json").read_text())
    del said["nearsight"]
    for level, wrong in ((said["fermi_level"], False), (300.0, True)):
        (tmp_path / "x" / "info.json").write_text(json.dumps({**said, "fermi_level": level}))
        found = [f for f in check_calculation(read_any(tmp_path / "x")) if "Fermi level among" in f.message]
        assert bool(found) == wrong


def test_small_blocks_in_one_direction_are_not_halved(tmp_path: Path) -> None:
    """Their reverse was left out for its size."""
    known = small_calculation()
    h = known.require_hamiltonian()
    key = "[0, 0, 0, 1, 2]"
    export(known, tmp_path / "x", "deeph")
    with h5py.File(tmp_path / "x" / "hamiltonians.h5", "r+") as file:
        file[key][...] *= 1e-6
        small = file[key][()]
        del file["[0, 0, 0, 2, 1]"]
    back = deeph_legacy.read(tmp_path / "x", ReadOptions()).require_hamiltonian()
    assert h.n_pairs == back.n_pairs
    export(replace(known, hamiltonian=back, overlap=None), tmp_path / "y", "deeph")
    with h5py.File(tmp_path / "y" / "hamiltonians.h5") as file:
        np.testing.assert_array_equal(file[key][()], small)
        np.testing.assert_array_equal(file["[0, 0, 0, 2, 1]"][()], small.T)


def test_core_levels_do_not_excuse_an_asymmetry(tmp_path: Path) -> None:
    """2 meV beside an element of −1800 eV."""
    export(small_calculation(), tmp_path / "x", "deepx")
    path = tmp_path / "x" / "hamiltonian.h5"
    with h5py.File(path, "r+") as file:
        file["entries"][0] = -1800.0
        file["entries"][3] += 0.002
    with pytest.raises(FormatError, match=r"\|M − M†\| = 0.002"):
        read_any(tmp_path / "x")


def test_matrices_of_something_else_do_not_stay(tmp_path: Path) -> None:
    """H would be read with another S, or the DFT's H instead of a prediction."""
    known = read_calculation(SILICON)
    export(known, tmp_path / "x", "deepx")
    for other in (replace(known, overlap=None), replace(known, provenance={"predicted": "yes"})):
        with pytest.raises(InputError, match="without matrices of something else"):
            export(other, tmp_path / "x", "deepx")
    export(known, tmp_path / "x", "deepx")


def test_the_folder_that_is_read_is_not_written(tmp_path: Path) -> None:
    export(SILICON, tmp_path / "x", "deepx")
    for source in (tmp_path / "x", tmp_path / "x" / "hamiltonian.h5"):
        with pytest.raises(InputError, match="another folder"):
            export(source, tmp_path / "x", "deeph")
    with pytest.raises(InputError, match="expected a layout among"):
        export(SILICON, tmp_path / "y", "nobody's")


def _json(name: str, **changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        said = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**said, **changes}))

    return change


def _dataset(file: str, name: str, values: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with h5py.File(folder / file, "r+") as opened:
            new = values(opened[name][()])
            del opened[name]
            opened[name] = new

    return change


def _cut(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:-400])


def _remove(file: str, key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with h5py.File(folder / file, "r+") as opened:
            del opened[key]

    return change


def _link(folder: Path) -> None:
    with h5py.File(folder / "hamiltonians.h5", "r+") as opened:
        key = next(iter(opened))
        del opened[key]
        opened[key] = h5py.ExternalLink("/etc/passwd", "/x")


def _elsewhere(folder: Path) -> None:
    """A dataset whose numbers lie in another file."""
    (folder / "numbers").write_bytes(np.zeros((13, 13)).tobytes())
    with h5py.File(folder / "hamiltonians.h5", "r+") as opened:
        key = next(iter(opened))
        del opened[key]
        opened.create_dataset(key, (13, 13), "f8", external=[(str(folder / "numbers"), 0, 13 * 13 * 8)])


def _virtual(folder: Path) -> None:
    with h5py.File(folder / "hamiltonians.h5", "r+") as opened:
        key, other = list(opened)[:2]
        del opened[key]
        layout = h5py.VirtualLayout((13, 13), "f8")
        layout[...] = h5py.VirtualSource(str(folder / "overlaps.h5"), other, (13, 13))
        opened.create_virtual_dataset(key, layout)


def _packed_by_nobody(folder: Path) -> None:
    """A chunk that is not there, in a dataset of chunks."""
    with h5py.File(folder / "hamiltonians.h5", "r+") as opened:
        key = next(iter(opened))
        del opened[key]
        opened.create_dataset(key, (13, 13), "f8", chunks=(13, 13))


def _second(folder: Path) -> None:
    text = (folder / "orbital_types.dat").read_text().splitlines()
    (folder / "orbital_types.dat").write_text(text[0] + "\n" + "0 1\n")


def _skewed(folder: Path) -> None:
    """And then the vectors as rows, while rlat.dat has columns."""
    table = np.loadtxt(folder / "lat.dat")
    table[0, 1] += 1.0
    np.savetxt(folder / "lat.dat", table.T)
    np.savetxt(folder / "rlat.dat", 2 * np.pi * np.linalg.inv(table).T)


BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "spin": ("deepx", _json("info.json", spinful=True), "got spinful matrices"),
    "no shells": ("deepx", _json("info.json", elements_orbital_map={"C": [0]}), "expected the shells of Si"),
    "other shells": (
        "deepx",
        _json("info.json", elements_orbital_map={"Si": [0, 1]}, orbits_quantity=8),
        "another basis",
    ),
    "other size": ("deepx", _json("info.json", orbits_quantity=25), "expected orbits_quantity 26"),
    "other atoms": ("deepx", _json("info.json", atoms_quantity=3), "expected 2 atoms"),
    "an l of text": ("deepx", _json("info.json", elements_orbital_map={"Si": ["s"]}), "expected a list of l"),
    "cut off": ("deepx", _cut("hamiltonian.h5"), "damaged or truncated"),
    "a pair of nobody": ("deepx", _dataset("hamiltonian.h5", "atom_pairs", lambda p: p + 1), "expected atoms 0 to 1"),
    "a pair twice": (
        "deepx",
        _dataset("hamiltonian.h5", "atom_pairs", lambda p: np.concatenate([p[:1], p[:1], p[2:]])),
        "twice",
    ),
    "too few numbers": ("deepx", _dataset("overlap.h5", "entries", lambda e: e[:-1]), "expected chunk_boundaries"),
    "complex": ("deepx", _dataset("hamiltonian.h5", "entries", lambda e: e * 1j), "entries holds complex128"),
    "not a number": ("deepx", _dataset("hamiltonian.h5", "entries", lambda e: e * np.nan), "NaN or infinite"),
    "orthogonal, with S": ("deepx", _json("info.json", orthogonal_basis=True), "S = 1 of an orthogonal basis"),
    "other electrons": ("deepx", _json("info.json", occupation=4), "an occupation that fits the charge 0, got 4"),
    "other sites": ("deeph", _json("info.json", nsites=3), "expected nsites 2"),
    "other orbitals": ("deeph", _json("info.json", norbits=8), "expected norbits 26"),
    "vectors as rows": ("deeph", _skewed, "the reciprocal lattice of lat.dat"),
    "spin, first layout": ("deeph", _json("info.json", isspinful=True), "got spinful matrices"),
    "cut off, first layout": ("deeph", _cut("hamiltonians.h5"), "damaged or truncated"),
    "no reverse": ("deeph", _remove("hamiltonians.h5", "[1, 0, 0, 1, 2]"), "in one direction only"),
    "a link": ("deeph", _link, "link, which points elsewhere"),
    "numbers elsewhere": ("deeph", _elsewhere, "has its data in another file"),
    "virtual numbers": ("deeph", _virtual, "has its data in another file"),
    "a chunk that is not there": ("deeph", _packed_by_nobody, "0 of 1 chunks"),
    "other shells of one atom": ("deeph", _second, "the same shells for all atoms of an element"),
    "a strange key": (
        "deeph",
        _dataset("hamiltonians.h5", "[0, 0, 0, 1, 1]", lambda block: block[:3]),
        "expected 13 × 13 numbers",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in each layout."""
    folder = tmp_path_factory.mktemp("good")
    for layout in LAYOUTS:
        export(SILICON, folder / layout, layout)
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, good: Path, tmp_path: Path) -> None:
    layout, spoil, message = BAD[case]
    shutil.copytree(good / layout, tmp_path / "x")
    spoil(tmp_path / "x")
    with pytest.raises(FormatError, match=message) as caught:
        read_any(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_shells_in_another_order_are_found(tmp_path: Path) -> None:
    """A file of the first layout whose shells are not in OpenMX's order, as the linter sees it."""
    export(SILICON, tmp_path / "x", "deeph")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    for name in ("hamiltonians.h5", "overlaps.h5"):
        with h5py.File(tmp_path / "y" / name, "r+") as file:
            for key in file:
                block = file[key][()]
                order = [0, 1, 3, 4, 2, 5, 6, 7, *range(8, 13)]
                file[key][...] = block[np.ix_(order, order)]
    good, bad = (check_calculation(read_any(tmp_path / name), quick=True) for name in "xy")
    assert not [f for f in good if f.level == "error"]
    assert "p of Si" in next(f for f in bad if f.level == "error").message


@pytest.mark.parametrize(("factor", "unit"), [(1 / 27.2114, "Hartree"), (1 / 13.6057, "Rydberg")])
def test_other_units_are_found(factor: float, unit: str, good: Path, tmp_path: Path) -> None:
    """A file cannot say them, the size of H does."""
    shutil.copytree(good / "deepx", tmp_path / "x")
    _dataset("hamiltonian.h5", "entries", lambda e: e * factor)(tmp_path / "x")
    found = check_calculation(read_any(tmp_path / "x"), quick=True)
    assert "units" in [f.check for f in found if f.level == "error"]


@needs_samples
def test_real_files_in_both_layouts() -> None:
    """MoTe₂ of OpenMX, converted by DeepH-dock."""
    one, other = sample("deeph_MoTe2/legacy"), sample("deeph_MoTe2/deepx")
    same(one, other)
    assert_orders_are_ours(one)


@needs_samples
def test_written_files_are_the_real_ones(tmp_path: Path) -> None:
    """To the asymmetry of the real ones, of which we keep the Hermitian part."""
    export(path_of("deeph_MoTe2/legacy"), tmp_path / "x", "deeph")
    for name in ("hamiltonians.h5", "overlaps.h5"):
        ours = deeph_script.legacy_blocks(tmp_path / "x" / name)
        theirs = deeph_script.legacy_blocks(path_of("deeph_MoTe2/legacy") / name)
        assert ours.keys() == theirs.keys()
        assert max(np.abs(ours[key] - theirs[key]).max() for key in ours) < 1e-8


@needs_samples
@pytest.mark.parametrize(
    ("folder", "file", "tolerance"),
    [("deeph_MoTe2/bands", "band.h5", 1e-7), ("pyscf_as_deepx/MgO", "band_data.h5", 1e-10)],
)
def test_bands_are_the_stored_ones(folder: str, file: str, tolerance: float) -> None:
    with h5py.File(path_of(folder) / file) as opened:
        k, bands = opened["kpoints_frac_list"][()], opened["band_data"][()]
        zero = opened["fermi_energy_before_shift_eV"][()]
    np.testing.assert_allclose(levels(sample(folder), k).T - zero, bands, atol=tolerance)


@needs_samples
@pytest.mark.parametrize("folder", ["siesta_Si/as_deepx", "abacus_MoS2/as_deepx", "pyscf_as_deepx/MgO"])
def test_orders_in_real_files(folder: str) -> None:
    assert_orders_are_ours(sample(folder))
