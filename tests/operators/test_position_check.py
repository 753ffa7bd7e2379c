"""Overlaps computed anew from the Gaussian functions that CP2K prints."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.formats.cp2k_output import read_output
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation
from nearsight.operators.position_check import misfit
from nearsight.orbitals.gaussian_overlap import overlaps_along_z
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.structures.structure import Structure
from tests.formats.files import MHFO2

Shells = dict[int, tuple[GaussianShell, ...]]


@pytest.fixture(scope="module")
def crystal() -> tuple[Calculation, Shells]:
    kinds = read_output(MHFO2 / "binary_upper" / "hfo2.out").kinds
    return read_any(MHFO2 / "binary_upper"), {72: kinds[0].gaussians, 8: kinds[1].gaussians}


def with_positions(calculation: Calculation, positions: np.ndarray, cell: np.ndarray | None = None) -> Structure:
    own = calculation.structure
    return Structure(own.numbers, positions, own.cell if cell is None else cell, own.pbc)


def test_printed_shells(crystal: tuple[Calculation, Shells]) -> None:
    _, shells = crystal
    assert [s.l for s in shells[72]] == [0, 0, 1, 2]
    own = overlaps_along_z(shells[72], shells[72], np.array([1e-9]))[0]
    np.testing.assert_allclose(np.diag(own), 1, atol=1e-9)


def test_s_type_gaussians_in_closed_form() -> None:
    a, b = (GaussianShell(0, np.array([x]), np.array([1.0])) for x in (0.7, 0.3))
    distance = np.array([0.4, 1.3, 2.9])
    p, mu = 1.0, 0.21
    expected = (2 * np.sqrt(0.21) / p) ** 1.5 * np.exp(-mu * (distance / 0.529177210903) ** 2)
    np.testing.assert_allclose(overlaps_along_z([a], [b], distance)[:, 0, 0], expected, rtol=1e-6)


def test_a_folded_crystal_fits_and_every_moved_atom_is_found(crystal: tuple[Calculation, Shells]) -> None:
    calculation, shells = crystal
    s = calculation.require_overlap()
    assert misfit(s, calculation.structure, shells) is None
    for atom in range(len(calculation.structure)):
        places = calculation.structure.positions.copy()
        places[atom] += [0.02, -0.03, 0.01]
        found = misfit(s, with_positions(calculation, places), shells)
        assert found is not None
        assert found.atoms == (atom,)
    places = calculation.structure.positions.copy()
    places[[0, 7]] = places[[7, 0]]
    found = misfit(s, with_positions(calculation, places), shells)
    assert found is not None
    assert set(found.atoms) >= {0, 7}


def test_another_cell(crystal: tuple[Calculation, Shells]) -> None:
    calculation, shells = crystal
    structure = with_positions(calculation, calculation.structure.positions, calculation.structure.cell * 1.005)
    assert misfit(calculation.require_overlap(), structure, shells) is not None
