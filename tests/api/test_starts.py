"""Starts and total energies through the Python interface, and the command of the latter."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from typer.testing import CliRunner

from nearsight.api import starts as module
from nearsight.api.starts import start_files, total_energy
from nearsight.cli.main import app
from nearsight.errors import ConfigError, InputError
from nearsight.formats.cp2k_wavefunction import read_wavefunction
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import write_calculation
from nearsight.recipes.warm_start import pyscf_density
from nearsight.structures.structure import Structure

pytest.importorskip("pyscf")


@pytest.fixture(scope="module")
def hydrogen() -> Calculation:
    from nearsight.recipes.pyscf_job import run_pyscf
    from nearsight.recipes.pyscf_system import PyscfSettings

    return run_pyscf(Structure.from_ase(molecule("H2")), PyscfSettings(basis="sto-3g"))


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_both_starts_at_once(hydrogen: Calculation, tmp_path: Path) -> None:
    said = start_files(hydrogen, cp2k=tmp_path / "a.wfn", pyscf=tmp_path / "a.npy", added_mos=1)
    assert "ADDED_MOS 1" in said
    assert f'numpy.load("{tmp_path}/a.npy")' in said
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), pyscf_density(hydrogen))
    assert read_wavefunction(tmp_path / "a.wfn").spins[0].coefficients.shape == (2, 2)


def test_overlap_of_another_file(hydrogen: Calculation, tmp_path: Path) -> None:
    write_calculation(tmp_path / "s.h5", hydrogen)
    start_files(replace(hydrogen, overlap=None), pyscf=tmp_path / "a.npy", overlap=tmp_path / "s.h5")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), pyscf_density(hydrogen))


def test_starts_that_cannot_be(hydrogen: Calculation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file to write"):
        start_files(hydrogen)
    with pytest.raises(InputError, match="expected no smearing"):
        start_files(hydrogen, pyscf=tmp_path / "a.npy", smearing=300)
    assert not list(tmp_path.iterdir())


def test_settings_of_an_energy_that_do_not_fit(hydrogen: Calculation) -> None:
    with pytest.raises(ConfigError, match="expected pseudo=gth-… with basis gth-szv"):
        total_energy(hydrogen, basis="gth-szv")


def test_command_of_the_energy(hydrogen: Calculation, tmp_path: Path) -> None:
    write_calculation(tmp_path / "h.h5", hydrogen)
    result = CliRunner().invoke(app, ["energy", str(tmp_path / "h.h5"), "--basis", "sto-3g", "--json"])
    assert result.exit_code == 0, result.output
    numbers = json.loads(result.stdout)
    assert numbers["total_eV"] == pytest.approx(hydrogen.energy, abs=1e-6)
    assert numbers["above_self_consistent_eV"] == pytest.approx(0, abs=1e-6)
    table = CliRunner().invoke(app, ["energy", str(tmp_path / "h.h5"), "--basis", "sto-3g"]).stdout
    assert f"{numbers['total_eV']:.6f} eV" in table
