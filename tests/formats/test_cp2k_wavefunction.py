"""CP2K's wavefunction file: a real one comes back byte by byte and solves H C = S C ε of its own matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError, InputError
from nearsight.formats.cp2k_wavefunction import (
    Cp2kWavefunction,
    SpinOrbitals,
    closed_shell,
    read_wavefunction,
    write_wavefunction,
)
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.orbitals.basis import basis_named
from nearsight.units import HARTREE_IN_EV
from tests.formats.files import MHFO2

REAL = MHFO2 / "binary_full" / "hfo2-RESTART.wfn"


def test_a_real_file_byte_by_byte(tmp_path: Path) -> None:
    write_wavefunction(tmp_path / "copy.wfn", read_wavefunction(REAL))
    assert (tmp_path / "copy.wfn").read_bytes() == REAL.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["copy.wfn"]


def test_orbitals_are_ours_in_order_and_sign() -> None:
    """CP2K's C with CP2K's H and S as we read them; the file holds the orbitals before the last mixing."""
    calculation = read_any(MHFO2 / "binary_full")
    h, s = (
        to_csr(operator).toarray() for operator in (calculation.require_hamiltonian(), calculation.require_overlap())
    )
    found = read_wavefunction(REAL)
    (spin,) = found.spins
    c = spin.coefficients
    assert (spin.homo, spin.lfomo, spin.electrons, c.shape) == (48, 49, 96, (72, 56))
    np.testing.assert_allclose(c.T @ s @ c, np.eye(56), atol=1e-12)
    residual = h @ c - (s @ c) * spin.energies * HARTREE_IN_EV
    assert np.abs(residual).max() < 1e-4
    density = (c * spin.occupations) @ c.T
    assert np.sum(density * s) == pytest.approx(96, abs=1e-10)


def test_our_own_head_is_cp2ks(tmp_path: Path) -> None:
    """Made of basis, levels and coefficients alone, the file is CP2K's."""
    numbers = read_any(MHFO2 / "binary_full").structure.numbers
    (spin,) = read_wavefunction(REAL).spins
    basis = basis_named("SZV-MOLOPT-SR-GTH")
    own = closed_shell(basis, numbers, spin.energies, spin.occupations, spin.coefficients)
    write_wavefunction(tmp_path / "own.wfn", own)
    assert (tmp_path / "own.wfn").read_bytes() == REAL.read_bytes()


def test_several_sets_and_two_spins(tmp_path: Path, rng: np.random.Generator) -> None:
    sets = (((1, 3), (1, 3, 5)), ((1,),))
    spins = tuple(
        SpinOrbitals(np.sort(rng.normal(size=m)), np.ones(m), rng.normal(size=(14, m)), m, m + 1, m) for m in (4, 3)
    )
    write_wavefunction(tmp_path / "a.wfn", Cp2kWavefunction(sets, spins))
    back = read_wavefunction(tmp_path / "a.wfn")
    assert back.sets == sets
    for one, other in zip(back.spins, spins, strict=True):
        np.testing.assert_array_equal(one.coefficients, other.coefficients)
        np.testing.assert_array_equal(one.energies, other.energies)
        assert (one.homo, one.lfomo, one.electrons) == (other.homo, other.lfomo, other.electrons)


def test_partly_filled_levels() -> None:
    """CP2K's homo and lfomo are counted up to its EPS_FERMI_DIRAC."""
    filling = np.array([2.0, 2.0 - 1e-7, 1.5, 0.5, 1e-7])
    own = closed_shell(basis_named("SZV-MOLOPT-SR-GTH"), np.array([8, 8]), np.arange(5.0), filling, np.zeros((8, 5)))
    assert (own.spins[0].homo, own.spins[0].lfomo, own.spins[0].electrons) == (4, 3, 6)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-100], "coefficients of level 56 in record 62, of 576 bytes, got the end of the file"),
        (lambda data: data[:3], "got the end of the file"),
        (lambda data: b"\x14\x00\x00\x01" + data[4:], "expected atoms, spins, orbitals, sets, shells in record 1"),
        (lambda data: data + b"\x00" * 8, "expected the file to end after 62 records, got 8 more bytes"),
        (
            lambda data: data[:12] + b"\x47" + data[13:],
            "the coefficients of level 1 in record 7, of 568 bytes, got one marked 576",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, damage, said: str) -> None:
    path = tmp_path / "bad.wfn"
    path.write_bytes(damage(REAL.read_bytes()))
    with pytest.raises(FormatError, match=said):
        read_wavefunction(path)


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    found = read_wavefunction(REAL)
    wrong = replace(found, spins=(replace(found.spins[0], coefficients=np.zeros((70, 56))),))
    with pytest.raises(InputError, match=r"expected coefficients of shape \(72, 56\), got \(70, 56\)"):
        write_wavefunction(tmp_path / "a.wfn", wrong)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="and 2 occupations, got"):
        closed_shell(basis_named("SZV-MOLOPT-SR-GTH"), np.array([8]), np.zeros(2), np.zeros(3), np.zeros((4, 2)))
    with pytest.raises(FormatError, match=r"expected a wavefunction of CP2K"):
        read_wavefunction(tmp_path / "none.wfn")
