"""Overlaps of Gaussian shells along z: closed forms, and the functions of a basis file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError, InputError
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.nn.model_file import basis_metadata, basis_of_metadata
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_overlap import overlaps_along_z
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.recipes.overlap import with_pyscf_functions
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM

EXCERPT = Path(__file__).parents[1] / "data" / "BASIS_MOLOPT_excerpt"


def single(l: int, exponent: float) -> GaussianShell:
    return GaussianShell.of_normalised(l, [exponent], [1.0])


def test_closed_forms() -> None:
    """s-s: (2√ab/(a+b))^(3/2) exp(−ab/(a+b) r²); p_z-p_z and p_x-p_x of one exponent: (1 − a r²) and 1 times s-s."""
    r = np.array([0.0, 0.5, 1.0, 2.5])
    a, b = 0.7, 0.2
    expected = (2 * np.sqrt(a * b) / (a + b)) ** 1.5 * np.exp(-a * b / (a + b) * r**2)
    found = overlaps_along_z([single(0, a)], [single(0, b)], r * BOHR_IN_ANGSTROM)
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-12)
    p = overlaps_along_z([single(1, a)], [single(1, a)], r * BOHR_IN_ANGSTROM)
    ss = np.exp(-a / 2 * r**2)
    np.testing.assert_allclose(p[:, 1, 1], (1 - a * r**2) * ss, atol=1e-12)  # z is the middle of y, z, x
    np.testing.assert_allclose(p[:, 0, 0], ss, rtol=1e-12)
    np.testing.assert_array_equal(p[:, 0, 1], 0)


def test_functions_of_a_basis_file_are_those_of_pyscf() -> None:
    basis = read_basis_file(EXCERPT, "SZV-MOLOPT-SR-GTH")
    bare = BasisSet(basis.name, {z: basis.shells[z] for z in basis.shells if z}, {})
    theirs = with_pyscf_functions(bare)
    r = np.array([0.0, 1.0, 2.0, 4.0])
    for z in bare.shells:
        mixed = overlaps_along_z(basis.functions[z], theirs.functions[z], r)
        np.testing.assert_allclose(mixed, overlaps_along_z(basis.functions[z], basis.functions[z], r), atol=1e-9)


def test_files_and_models_keep_functions(tmp_path: Path) -> None:
    basis = read_basis_file(EXCERPT, "SZV-MOLOPT-SR-GTH")
    z = next(z for z in basis.shells if z)
    atoms = Structure(np.array([z]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, dtype=bool))
    write_calculation(tmp_path / "a.h5", Calculation(atoms, basis.restricted([z])))
    for again in (read_calculation(tmp_path / "a.h5").basis, basis_of_metadata(basis_metadata(basis))):
        for ours, theirs in zip(again.functions[z], basis.functions[z], strict=True):
            np.testing.assert_array_equal(ours.exponents, theirs.exponents)
            np.testing.assert_array_equal(ours.coefficients, theirs.coefficients)


def test_what_is_no_function_is_refused(tmp_path: Path) -> None:
    for exponents, coefficients in (([1.0, -1.0], [1.0, 1.0]), ([1.0], [0.0]), ([1.0], [np.nan]), ([1.0], [1.0, 2.0])):
        with pytest.raises(InputError, match="expected positive exponents and finite coefficients"):
            GaussianShell.of_normalised(0, exponents, coefficients)
    with pytest.raises(InputError, match=r"expected functions of the shells \(0, 1\) for O"):
        BasisSet("a", {8: (0, 1)}, {}, {8: (single(0, 1.0),)})
    (tmp_path / "BASIS").write_text("O  ONE\n 1\n 1 0 1 2 1 1\n 1.0 1.0 1.0\n 0.5 1.0\n")
    with pytest.raises(FormatError, match="2 lines of an exponent and 2 coefficients"):
        read_basis_file(tmp_path / "BASIS", "ONE")
