"""Starts from a Hamiltonian: their density is the right one, PySCF and CP2K are done at once where H is exact."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from typer.testing import CliRunner

from nearsight.cli.main import app
from nearsight.errors import InputError
from nearsight.formats.cp2k_output import read_output
from nearsight.formats.cp2k_wavefunction import read_wavefunction
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import from_csr, to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.recipes.cp2k_job import Cp2kJob, data_folder
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.cp2k_text import input_text
from nearsight.recipes.program import run_program
from nearsight.recipes.pyscf_job import run_pyscf
from nearsight.recipes.pyscf_system import PyscfSettings, build_system, make_field
from nearsight.recipes.warm_start import (
    WELL_CONDITIONED,
    cp2k_start,
    known_overlap,
    pyscf_density,
    pyscf_start,
    start_threshold,
)
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.formats.files import MHFO2
from tests.formats.molecules import NUMBERS, POSITIONS

WATER = Structure(NUMBERS, POSITIONS, np.zeros((3, 3)), np.zeros(3, dtype=bool))
SETTINGS = PyscfSettings(grid_level=1)
FLUORITE = Structure(
    np.array([72, 8, 8]),
    np.array([[0, 0, 0], [1.34, 1.22, 1.38], [3.81, 3.81, 3.81]]),
    2.54 * (1 - np.eye(3)),
    np.ones(3, dtype=bool),
)


@pytest.fixture(scope="module")
def water() -> Calculation:
    return run_pyscf(WATER, SETTINGS)


def cycles(structure: Structure, settings: PyscfSettings, density: np.ndarray | None) -> tuple[int, float]:
    """To PySCF's own convergence, and the energy (E_h)."""
    field = make_field(build_system(structure, settings), structure, settings)
    field.conv_tol, field.conv_tol_grad = 1e-9, None
    steps: list[float] = []
    field.callback = lambda local: steps.append(local["e_tot"])
    field.kernel(density)
    assert field.converged
    return len(steps), float(field.e_tot)


def test_pyscf_is_done_where_h_is_exact(water: Calculation) -> None:
    settings = SETTINGS
    mol = build_system(WATER, settings)
    density = pyscf_start(water, mol)
    assert np.sum(density * mol.intor("int1e_ovlp")) == pytest.approx(10, abs=1e-10)
    np.testing.assert_allclose(density @ mol.intor("int1e_ovlp") @ density, 2 * density, atol=1e-10)
    warm, energy = cycles(WATER, settings, density)
    cold, same = cycles(WATER, settings, None)
    assert warm <= 2 < cold
    assert energy == pytest.approx(same, abs=1e-8)


def test_s_is_computed_where_the_file_has_none(water: Calculation) -> None:
    bare = replace(water, overlap=None)
    np.testing.assert_allclose(known_overlap(bare).values, water.require_overlap().values, atol=1e-10)
    np.testing.assert_allclose(pyscf_density(bare), pyscf_density(water), atol=1e-8)


def test_a_crystal_at_gamma() -> None:
    cell = Structure(NUMBERS, POSITIONS, 4.0 * np.eye(3), np.ones(3, dtype=bool))
    settings = PyscfSettings(basis="gth-szv-molopt-sr", pseudo="gth-pbe", ke_cutoff=20)
    done = run_pyscf(cell, settings)
    warm, energy = cycles(cell, settings, pyscf_start(done, build_system(cell, settings)))
    assert warm <= 2
    assert energy * HARTREE_IN_EV == pytest.approx(done.energy, abs=1e-6)


def test_the_file_for_cp2k(tmp_path: Path) -> None:
    """From CP2K's H and S: CP2K's own levels, and a density with its electrons, made of orthonormal orbitals."""
    calculation = read_any(MHFO2 / "binary_full")
    cp2k_start(calculation, tmp_path / "a.wfn", added_mos=8)
    (own,), (theirs,) = (
        read_wavefunction(path).spins for path in (tmp_path / "a.wfn", MHFO2 / "binary_full" / "hfo2-RESTART.wfn")
    )
    s = to_csr(calculation.require_overlap()).toarray()
    c = own.coefficients
    assert (own.homo, own.lfomo, own.electrons, c.shape) == (48, 49, 96, (72, 56))
    np.testing.assert_allclose(c.T @ s @ c, np.eye(56), atol=1e-10)
    np.testing.assert_allclose(own.energies, theirs.energies, atol=1e-5)
    density, same = ((x.coefficients * x.occupations) @ x.coefficients.T for x in (own, theirs))
    assert np.sum(density * s) == pytest.approx(96, abs=1e-9)
    np.testing.assert_allclose(density, same, atol=1e-5)


def test_smearing_keeps_the_electrons(tmp_path: Path) -> None:
    calculation = read_any(MHFO2 / "binary_full")
    cp2k_start(calculation, tmp_path / "a.wfn", added_mos=24, smearing=20_000)
    (spin,) = read_wavefunction(tmp_path / "a.wfn").spins
    assert (spin.lfomo < 48 < spin.homo, spin.electrons) == (True, 96)
    assert 0 < spin.occupations[48] < 1 < spin.occupations[47] < 2


def test_what_cannot_be_started(water: Calculation, tmp_path: Path) -> None:
    hydrogen = Structure(np.array([1, 1, 8]), POSITIONS, WATER.cell, WATER.pbc)
    with pytest.raises(InputError, match="expected O as atom 0 of PySCF's system, got H"):
        pyscf_start(water, build_system(hydrogen, PyscfSettings()))
    with pytest.raises(InputError, match=r"expected shells .* on atom 0 .*is it the basis of the prediction\?"):
        pyscf_start(water, build_system(WATER, PyscfSettings(basis="sto-3g")))
    pair = Structure(NUMBERS[:2], POSITIONS[:2], WATER.cell, WATER.pbc)
    with pytest.raises(InputError, match="expected a system of 3 atoms"):
        pyscf_start(water, build_system(pair, PyscfSettings(charge=-1)))
    with pytest.raises(InputError, match=r"expected an even number of electrons .* got 9"):
        cp2k_start(water, tmp_path / "a.wfn", charge=1)
    with pytest.raises(InputError, match="expected a Hamiltonian"):
        pyscf_density(Calculation(WATER, BasisSet("def2-SVP", water.basis.shells, water.basis.valence)))
    assert not list(tmp_path.iterdir())


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    return f"{result.exit_code}\n{result.output}"


def test_commands(water: Calculation, tmp_path: Path) -> None:
    """A prediction without S; S alone; both starts, and what goes into the inputs."""
    bare, whole = tmp_path / "bare.h5", tmp_path / "whole.h5"
    write_calculation(bare, replace(water, overlap=None, h0=None))
    assert "S of H2O, 24 orbitals, 9 blocks" in run("overlap", bare, "-o", whole)
    stored = read_calculation(whole)
    np.testing.assert_allclose(stored.require_overlap().values, water.require_overlap().values, atol=1e-10)
    np.testing.assert_array_equal(stored.require_hamiltonian().values, water.require_hamiltonian().values)
    said = run("start", bare, "--pyscf", tmp_path / "dm0.npy")
    assert f'mf.kernel(dm0=numpy.load("{tmp_path}/dm0.npy"))' in said
    np.testing.assert_allclose(np.load(tmp_path / "dm0.npy"), pyscf_density(water), atol=1e-8)
    said = run("start", whole, "--cp2k", tmp_path / "a.wfn", "--added-mos", 3, "--overlap", whole)
    assert "SCF_GUESS RESTART\n      ADDED_MOS 3" in said
    assert f"WFN_RESTART_FILE_NAME {tmp_path}/a.wfn" in said
    assert read_wavefunction(tmp_path / "a.wfn").spins[0].coefficients.shape == (24, 8)
    assert "expected one of --cp2k FILE, --pyscf FILE, --siesta FILE and --cube FILE, got none" in run("start", bare)
    assert "expected --spacing with --cube" in run("start", bare, "--pyscf", tmp_path / "d.npy", "--spacing", "1")
    assert "expected no --smearing with --pyscf" in run("start", bare, "--pyscf", tmp_path / "b.npy", "--smearing", 100)
    assert not (tmp_path / "b.npy").exists()
    assert "expected neither a basis nor a cell" in run("overlap", bare, "-o", whole, "--basis", "def2-SVP")


def test_overlap_of_a_structure_file(tmp_path: Path) -> None:
    cell = MHFO2 / "mhfo2.xyz"
    assert run("overlap", cell, "-o", tmp_path / "s.h5", "--basis", "SZV-MOLOPT-SR-GTH").startswith("0\n")
    stored = read_calculation(tmp_path / "s.h5")
    assert stored.basis == basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72])
    reference = read_any(MHFO2 / "binary_full").require_overlap()
    assert np.abs((to_csr(stored.require_overlap()) - to_csr(reference)).data).max() < 1e-6
    assert "expected a basis, such as" in run("overlap", cell, "-o", tmp_path / "t.h5")


def test_a_wrong_level_of_a_small_direction_is_left_out(water: Calculation) -> None:
    """A level is moved by 60 eV through a change of H that is small, along the direction where S is smallest."""
    s = to_csr(water.require_overlap()).toarray()
    values, vectors = np.linalg.eigh(s)
    direction = vectors[:, 0]
    shift = -60.0 * values[0] * np.outer(direction, direction)
    h = water.require_hamiltonian()
    spoilt = replace(water, hamiltonian=from_csr(csr_matrix(to_csr(h).toarray() + shift), h.numbers, h.basis))
    exact = pyscf_density(water, threshold=1e-8)
    wrong, mended = (np.abs(pyscf_density(spoilt, threshold=x) - exact).max() for x in (1e-8, 1.01 * values[0]))
    assert mended < 0.1 * wrong
    assert start_threshold(water) < WELL_CONDITIONED == start_threshold(replace(water, provenance={"predicted": "yes"}))


@pytest.mark.dft
@pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="CP2K is not installed")
def test_cp2k_is_done_where_h_is_exact(tmp_path: Path) -> None:
    """A run, its H with S of PySCF as a start, and the run again: one or two steps to the same energy."""
    job = Cp2kJob(FLUORITE, Cp2kSettings(images=False, cutoff=120, rel_cutoff=30, eps_scf=1e-6))
    cold = job.run(tmp_path / "cold")
    folder = tmp_path / "warm"
    folder.mkdir()
    cp2k_start(replace(cold, overlap=None), folder / "job-RESTART.wfn", added_mos=6)
    (folder / "job.inp").write_text(input_text(FLUORITE, job.settings, job.basis, restart=True))
    run_program(
        ["cp2k.psmp", "-i", "job.inp"], folder, "job.out", "CP2K", environment={"OMP_NUM_THREADS": "1", **data_folder()}
    )
    said = (folder / "job.out").read_text()
    assert "SCF run converged in     1 steps" in said or "SCF run converged in     2 steps" in said
    assert read_output(folder / "job.out").energy == pytest.approx(cold.energy, abs=1e-4)
