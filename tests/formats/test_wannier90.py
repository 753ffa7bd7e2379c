"""Wannier90's H(R): both files, functions of atoms and others, their order, bad files, a real run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nearsight as ns
from nearsight.api.exports import export
from nearsight.checks.linter import check_calculation
from nearsight.errors import FormatError, InputError
from nearsight.formats.registry import read_any
from nearsight.orbitals.conventions import WANNIER90
from nearsight.orbitals.rotations import spherical_harmonics
from tests.formats.samples import largest_difference, levels, needs_samples, path_of
from tests.formats.wannier_files import orthonormal, write_tb
from tests.fuzz.seeds import small_calculation

WORDS = {"Hf": "2s1p1d", "O": "1s1p"}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wannier90_hr.dat and .win, not to be changed."""
    folder = tmp_path_factory.mktemp("wannier90") / "x"
    export(orthonormal(small_calculation()), folder, "wannier90")
    return folder


def test_what_is_written_comes_back(good: Path) -> None:
    """To the twelve decimals of the file, with the shells that are given."""
    known = orthonormal(small_calculation())
    found = read_any(good, basis=WORDS)
    assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-12
    assert largest_difference(found.overlap, known.overlap) == 0
    np.testing.assert_allclose(found.structure.positions, known.structure.positions, atol=1e-12)
    assert found.fermi == known.fermi
    with pytest.raises(FormatError, match="expected the centres of the Wannier functions"):
        read_any(good)


@pytest.mark.parametrize("away", [False, True])
def test_functions_of_atoms(away: bool, tmp_path: Path) -> None:
    """Shells follow from the projections; functions with centres in other cells than their atom are brought back."""
    moved = np.array([[0, 0, 0]] * 4 + [[1, 0, -1]] * 4) if away else None
    folder = write_tb(tmp_path / "x", small_calculation(), moved)
    found = read_any(folder)
    assert found.basis.describe() == "O 1s1p"
    (folder / "wannier90_tb.dat").unlink()
    same = read_any(folder)
    assert largest_difference(found.hamiltonian, same.hamiltonian) < 1e-10
    assert found.provenance["orbitals"] == "Wannier functions of whole shells"


def test_other_functions_are_sites_of_their_own(tmp_path: Path) -> None:
    """Hybrids: levels are right, bands and densities of states work, nothing can be learnt."""
    whole = read_any(write_tb(tmp_path / "x", small_calculation()))
    for name, spread in (("x", 0.0), ("y", 0.35)):
        path = write_tb(tmp_path / name, small_calculation(), spread=spread) / "wannier90.win"
        path.write_text(path.read_text().replace("O:s;p", "O:sp3"))
    with pytest.raises(FormatError, match="got several at one place; say the shells"):
        read_any(tmp_path / "x")
    found = read_any(tmp_path / "y")
    assert found.structure.numbers.tolist() == [0] * 8
    k = np.array([[0.0, 0, 0], [0.1, 0.2, 0.3]])
    np.testing.assert_allclose(levels(found, k), levels(whole, k), atol=1e-8)
    np.testing.assert_allclose(ns.bands(found, path=k).levels, levels(found, k), atol=1e-8)
    assert ns.bands(found, path=k).n_occupied == 0
    density = ns.density_of_states(found, mesh=(2, 1, 1), n_electrons=8)
    assert density.filling.homo < density.filling.fermi < density.filling.lumo
    assert "orbitals" in [f.check for f in check_calculation(found, quick=True) if f.level == "error"]


@pytest.mark.parametrize("l", [1, 2, 3])
def test_the_order_is_that_of_the_manual_s_formulas(l: int, rng: np.random.Generator) -> None:
    """Table 3.1 of the user guide, by mr, up to factors."""
    x, y, z = r = rng.normal(size=3)
    r2 = float(r @ r)
    formulas = {
        1: [z, x, y],
        2: [3 * z * z - r2, x * z, y * z, x * x - y * y, x * y],
        3: [
            z * (5 * z * z - 3 * r2),
            x * (5 * z * z - r2),
            y * (5 * z * z - r2),
            z * (x * x - y * y),
            x * y * z,
            x * (x * x - 3 * y * y),
            y * (3 * x * x - y * y),
        ],
    }
    ours = spherical_harmonics(r[None], l)[l][0]
    factor = ours[[m + l for m in WANNIER90.order[l]]] / np.array(formulas[l])
    assert (factor > 0).all()
    assert set(WANNIER90.signs[l]) == {1}


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"an orthonormal basis \(S = 1\)"):
        export(small_calculation(), tmp_path / "x", "wannier90")
    with pytest.raises(InputError, match="expected an overlap matrix S"):
        export(replace(small_calculation(), overlap=None), tmp_path / "x", "wannier90")


def _line(number: int, change: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "wannier90_hr.dat"
        lines = path.read_text().split("\n")
        lines[number] = change(lines[number])
        path.write_text("\n".join(lines))

    return spoil


def _win(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "wannier90.win"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def _text(change: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "wannier90_hr.dat"
        path.write_text(change(path.read_text()))

    return spoil


def _broken(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (_text(lambda t: t[: len(t) // 2]), "is it cut off"),
    "twice": (_text(lambda t: t + t.split("\n", 1)[1]), "are there two in one"),
    "a word": (_line(10, lambda x: x.replace("1", "x")), "got others"),
    "not a number": (_line(10, lambda x: " ".join([*x.split()[:5], "nan", "0.0"])), "NaN or infinite"),
    "complex": (_line(10, lambda x: " ".join([*x.split()[:6], "0.1"])), "imaginary parts up to 0.1 eV"),
    "one direction": (_line(10, lambda x: " ".join([*x.split()[:5], "77.0", "0.0"])), "Hermitian"),
    "rows exchanged": (_line(10, lambda x: " ".join([*x.split()[:3], "9", "9", *x.split()[5:]])), "m running fastest"),
    "another R": (_line(10, lambda x: " ".join(["7", *x.split()[1:]])), "rows of each cell vector together"),
    "half a function": (_line(1, lambda _: "18.5"), "a whole number"),
    "no cells": (_line(3, lambda x: x.replace("1", "0", 1)), "how many cells are equivalent"),
    "spinors": (_win("num_wann", "spinors = true\nnum_wann"), "got spinors"),
    "no cell": (_win("unit_cell_cart", "unit_cell"), "three vectors in unit_cell_cart"),
    "no atoms": (_win("atoms_cart", "atoms_carts"), "a block atoms_frac or atoms_cart"),
    "an atom of nobody": (_win("Hf ", "Qq "), "chemical symbols"),
    "a block that does not end": (_win("end atoms_cart", ""), "one whole block"),
    "no input": (lambda folder: (folder / "wannier90.win").unlink(), "with the cell beside it"),
    "input is a link without its file": (lambda folder: _broken(folder / "wannier90.win"), "a link that leads nowhere"),
    "two seeds": (lambda folder: shutil.copy(folder / "wannier90_hr.dat", folder / "b_hr.dat") and None, "one seed"),
    "other shells": (_win("Hf ", "Zr "), "expected"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, good: Path, tmp_path: Path) -> None:
    spoil, message = BAD[case]
    folder = Path(shutil.copytree(good, tmp_path / "x"))
    spoil(folder)
    with pytest.raises((FormatError, InputError), match=message) as caught:
        read_any(folder, basis=WORDS)
    assert len(str(caught.value).splitlines()) == 1


@needs_samples
@pytest.mark.parametrize(("name", "tolerance"), [("silicon_tb.dat", 2e-7), ("silicon_hr.dat", 5e-5)])
def test_levels_of_a_real_run_are_those_it_was_made_of(name: str, tolerance: float) -> None:
    """Silicon of SIESTA and Wannier90 (sisl's files), where the samples have it: four bond-centred functions."""
    folder = path_of("wannier90_Si")
    if not folder.is_dir():
        pytest.skip("the samples have no folder wannier90_Si")
    points = re.search(r"begin kpoints(.*?)end kpoints", (folder / "silicon.win").read_text(), re.S)
    assert points is not None
    k = np.array(points[1].split(), dtype=float).reshape(-1, 3)
    known = np.loadtxt(folder / "silicon.eigW")[:, 2].reshape(len(k), -1)
    assert np.abs(levels(read_any(folder / name), k) - known).max() < tolerance
