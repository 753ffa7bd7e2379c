"""Spin-polarised runs of every code that is read with them, and what refuses them by name."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from nearsight.api.exports import export
from nearsight.api.models import train
from nearsight.api.spectra import bands, density_of_states, evaluate, spectrum
from nearsight.checks.linter import check_calculation
from nearsight.cli.main import app
from nearsight.errors import FormatError, InputError
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import describe, read_calculation, write_calculation
from tests.formats import spin_files
from tests.formats.aims_files import light
from tests.formats.samples import largest_difference
from tests.fuzz.seeds import small_calculation, two_spins

SILICON = Path(__file__).parents[2] / "data" / "silicon_2.h5"
MAGNET = spin_files.magnet(read_calculation(SILICON))


def same(found: Calculation, known: Calculation, tolerance: float) -> None:
    assert found.hamiltonian is None
    assert found.spin_polarised
    for name in ("hamiltonian_up", "hamiltonian_down", "overlap"):
        assert largest_difference(getattr(found, name), getattr(known, name)) <= tolerance
    assert largest_difference(found.hamiltonian_up, found.hamiltonian_down) > 0.1


WRITERS: dict[str, Callable[[Path], Path]] = {
    "abacus": lambda folder: spin_files.write_abacus(folder, MAGNET),
    "abacus present": lambda folder: spin_files.write_abacus_present(folder, MAGNET),
    "siesta": lambda folder: spin_files.write_siesta(folder / "x.HSX", MAGNET),
}


@pytest.mark.parametrize("code", WRITERS)
def test_runs_of_two_spins(code: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"basis": {"Si": "2s2p1d"}} if code == "abacus present" else {}
    path = WRITERS[code](tmp_path)
    found = read_any(path, **options)
    same(found, MAGNET, 1e-12)
    if code != "abacus present":
        np.testing.assert_allclose(found.k_eigenvalues, MAGNET.k_eigenvalues, atol=1e-9)
        assert found.n_electrons == 8
    if code == "siesta":
        assert read_any(tmp_path).fermi == pytest.approx(MAGNET.fermi)


def test_a_run_of_fhi_aims(tmp_path: Path) -> None:
    known = two_spins(light(small_calculation()))
    same(read_any(spin_files.write_aims(tmp_path / "run", known)), known, 1e-12)
    (tmp_path / "run" / "rs_hamiltonian_dn.out").unlink()
    with pytest.raises(FormatError, match="or both of rs_hamiltonian_up"):
        read_any(tmp_path / "run")


def test_the_store(tmp_path: Path) -> None:
    """Version 3 with two spins, which an older nearsight refuses; version 2 without."""
    write_calculation(tmp_path / "x.h5", MAGNET)
    back = read_calculation(tmp_path / "x.h5")
    same(back, MAGNET, 0.0)
    np.testing.assert_array_equal(back.k_eigenvalues, MAGNET.k_eigenvalues)
    assert describe(tmp_path / "x.h5")["version"] == 3
    assert read_calculation(tmp_path / "x.h5", hamiltonian=False).hamiltonian_up is None
    write_calculation(tmp_path / "y.h5", read_calculation(SILICON))
    assert describe(tmp_path / "y.h5")["version"] == 2
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["hamiltonian_down"]
    with pytest.raises(FormatError, match="H of both spins"):
        read_any(tmp_path / "x.h5")


@pytest.mark.parametrize(
    "use", [spectrum, density_of_states, bands, lambda c: evaluate(c, c), Calculation.require_hamiltonian]
)
def test_what_works_without_spin_says_so(use: Callable[[Calculation], object]) -> None:
    with pytest.raises(InputError, match=r"got one of each spin \(spin-polarised\)"):
        use(MAGNET)


@pytest.mark.parametrize("layout", ["deepx", "deeph", "abacus", "dftio", "tshs", "quatrex"])
def test_exports_say_so(layout: str, tmp_path: Path) -> None:
    """S alone would be written otherwise."""
    with pytest.raises(InputError, match="got H of two spins"):
        export(MAGNET, tmp_path / "x.TSHS", layout)
    assert not list(tmp_path.iterdir())


def test_one_spin_is_not_filled_by_mistake() -> None:
    """Its levels hold one electron each."""
    up = MAGNET.of_spin("up")
    with pytest.raises(InputError, match="valence"):
        spectrum(up)
    assert spectrum(up, n_electrons=8).gap > 0
    with pytest.raises(InputError, match="a spin, up or down"):
        read_calculation(SILICON).of_spin("up")
    with pytest.raises(InputError, match="H of both spins and none without"):
        replace(MAGNET, hamiltonian_down=None)


def test_the_linter_looks_at_either_spin() -> None:
    assert not [f for f in check_calculation(MAGNET, quick=True) if f.level == "error"]
    down = MAGNET.hamiltonian_down
    wrong = replace(MAGNET, hamiltonian_down=down.with_values(down.values * 27.2))
    found = [f for f in check_calculation(wrong, quick=True) if f.level == "error"]
    assert [f.check for f in found] == ["units"]
    assert found[0].message.endswith("(spin down)")


def test_the_commands(tmp_path: Path) -> None:
    """`import` and `spectrum` take both spins; training says what it takes."""
    run, source, file = CliRunner(), WRITERS["siesta"](tmp_path), str(tmp_path / "x.h5")
    said = run.invoke(app, ["import", str(source), "-o", file])
    assert said.exit_code == 0, said.output
    assert "H of spin down" in said.output
    printed = json.loads(run.invoke(app, ["spectrum", file, "--json", "--moment", "2"]).stdout)
    assert (printed["electrons_up"], printed["electrons_down"]) == (5, 3)
    shown = run.invoke(app, ["spectrum", file])
    assert "magnetic moment" in shown.output
    bad = {
        "--states": ["spectrum", file, "--states", "4"],
        "H of two spins": ["spectrum", str(SILICON), "--moment", "1"],
    }
    for words, wrong in bad.items():
        refused = run.invoke(app, wrong)
        assert refused.exit_code != 0
        assert words in " ".join(refused.output.split())
    with pytest.raises(InputError, match="one of each spin"):
        train([file], minutes=0.1, run_dir=tmp_path / "run")


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    changed = re.sub(old, new, text, count=1, flags=re.M)
    assert changed != text
    path.write_text(changed)


def _broken(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def _of_one_spin(folder: Path) -> None:
    path = folder / "istate.info"
    path.write_text(re.sub(r"^(\d+ \S+ \S+) .*$", r"\1", path.read_text(), flags=re.M))


BAD: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no second H": ("abacus", _remove("data-HR-sparse_SPIN1.csr"), "without data-HR-sparse_SPIN1.csr"),
    "a log without": ("abacus", _replace("running_scf.log", "nspin = 2", "nspin = 1"), "and data-HR-sparse_SPIN1.csr"),
    "spin-orbit": ("abacus", _replace("running_scf.log", "nspin = 2", "nspin = 4"), "got nspin = 4"),
    "levels of one spin": ("abacus", _of_one_spin, "and 2 spins"),
    "the first twice": (
        "abacus present",
        lambda f: shutil.copy(f / "hrs1_nao.csr", f / "hrs2_nao.csr") and None,
        "spin",
    ),
    "the second as first": (
        "abacus present",
        lambda f: shutil.copy(f / "hrs2_nao.csr", f / "hrs1_nao.csr") and None,
        "got spin 2",
    ),
    "another cell": ("abacus present", lambda f: _edit(f / "hrs2_nao.csr", r"^ 1\.0$", " 1.01"), "the cell of H"),
    "S of other atoms": (
        "abacus present",
        lambda f: _edit(f / "srs1_nao.csr", r"(Direct\n \S+ \S+) \S+", r"\1 0.1"),
        "the atoms and the cell of H",
    ),
    "another step": (
        "abacus present",
        lambda f: _edit(f / "hrs2_nao.csr", "Ionic Step 1", "Ionic Step 4"),
        "step of H, 1, got 4",
    ),
    "another step before": (
        "abacus",
        lambda f: _edit(f / "data-HR-sparse_SPIN1.csr", "STEP: 0", "STEP: 3"),
        "step of H, 0, got 3",
    ),
    "S is a link without its file": ("abacus", lambda f: _broken(f / "data-SR-sparse_SPIN0.csr"), "leads nowhere"),
    "of four": ("abacus present", _replace("hrs1_nao.csr", "2 # number", "4 # number"), "one of 4 spin directions"),
    "EIG of one spin": (
        "siesta",
        lambda f: (f / "x.EIG").write_text("0.1\n 1 1 2\n 1 2.0\n 2 2.0\n") and None,
        "of 2 spins",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, tmp_path: Path) -> None:
    code, spoil, message = BAD[case]
    path = WRITERS[code](tmp_path)
    folder = path if path.is_dir() else path.parent
    spoil(folder)
    with pytest.raises(FormatError, match=message) as caught:
        read_any(path, **({"basis": {"Si": "2s2p1d"}} if code == "abacus present" else {}))
    assert len(str(caught.value).splitlines()) == 1
