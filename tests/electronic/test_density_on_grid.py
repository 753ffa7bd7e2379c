"""The density at points: its integral, PySCF's values, and turned structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.io.cube import read_cube

import nearsight as ns
from nearsight.electronic.density_on_grid import density_on_grid
from nearsight.errors import InputError
from nearsight.operators.store import read_calculation
from nearsight.recipes.overlap import with_pyscf_functions
from nearsight.recipes.pyscf_job import run_pyscf
from nearsight.recipes.pyscf_system import PyscfSettings, build_system
from nearsight.recipes.warm_start import gamma_density, pyscf_density
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

ROOT = Path(__file__).parents[2]


def water(turned: np.ndarray | None = None) -> Structure:
    positions = np.array([[0.0, 0.0, 0.11], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    return Structure(
        np.array([8, 1, 1]), positions if turned is None else positions @ turned.T, np.zeros((3, 3)), False
    )


def test_values_are_those_of_pyscf() -> None:
    settings = PyscfSettings(basis="def2-tzvp")
    known = run_pyscf(water(), settings)
    density = pyscf_density(known)
    internal = gamma_density(known)
    found = density_on_grid(known.structure, known.basis, internal, spacing=0.7)
    places = np.stack(np.meshgrid(*map(np.arange, found.values.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    points = found.origin + places @ found.steps
    functions = build_system(known.structure, settings).eval_gto("GTOval_sph", points / BOHR_IN_ANGSTROM)
    expected = np.einsum("pi,ij,pj->p", functions, density, functions)
    np.testing.assert_allclose(found.values.reshape(-1), expected, atol=3e-6)


def test_the_sum_over_a_cell_is_its_electrons_and_follows_a_translation(tmp_path: Path) -> None:
    known = read_calculation(ROOT / "data" / "silicon_2.h5")
    basis = with_pyscf_functions(known.basis.restricted(known.structure.numbers))
    density = gamma_density(known)
    found = density_on_grid(known.structure, basis, density, spacing=0.4)
    assert found.electrons == pytest.approx(8, abs=1e-4)
    moved = density_on_grid(known.structure.translated(found.steps.T @ [2, -1, 3]), basis, density, spacing=0.4)
    np.testing.assert_allclose(moved.values, np.roll(found.values, (2, -1, 3), axis=(0, 1, 2)), atol=1e-5)
    text = ns.start_files(known, cube=tmp_path / "a.cube", spacing=0.4)
    assert "electrons of 8" in text
    with (tmp_path / "a.cube").open() as file:
        read = read_cube(file)
    np.testing.assert_allclose(read["data"], found.values, rtol=1e-5)
    np.testing.assert_allclose(read["atoms"].positions, known.structure.positions, atol=1e-5)


def test_what_has_no_grid_is_refused() -> None:
    known = run_pyscf(water(), PyscfSettings(basis="sto-3g"))
    p = gamma_density(known)
    with pytest.raises(InputError, match="a spacing of points above 0"):
        density_on_grid(known.structure, known.basis, p, spacing=0.0)
    with pytest.raises(InputError, match="at most 200,000,000 points"):
        density_on_grid(known.structure, known.basis, p, spacing=1e-3)
    slab = Structure(known.structure.numbers, known.structure.positions, np.eye(3) * 9, np.array([True, True, False]))
    with pytest.raises(InputError, match="along all axes or along none"):
        density_on_grid(slab, known.basis, p)
