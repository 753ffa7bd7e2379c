"""NumPy archives with structure, H and S."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.units import HARTREE_IN_EV
from tests.formats.files import symmetric

H, S = symmetric(18, 1), symmetric(18, 2)


def archive(path: Path, **changes: Any) -> Path:
    """Three atoms; a change of None leaves a key out."""
    upper = np.triu_indices(18)
    keys: dict[str, Any] = {
        "numbers": np.array([72, 8, 8]),
        "positions_ang": np.diag([0.0, 2.0, 2.0]),
        "cell_ang": 9 * np.eye(3),
        "norb": np.array([10, 4, 4]),
        "orb_offset": np.array([0, 10, 14, 18]),
        "mo_eig_ha": np.array([0.5, -1.0]),
        "energy_ha": np.array(-2.0),
    }
    for letter, matrix in (("H", H), ("S", S)):
        keys |= {
            f"{letter}_row": upper[0].astype(np.int32),
            f"{letter}_col": upper[1].astype(np.int32),
            f"{letter}_val": matrix[upper],
        }
    np.savez(path, **{key: value for key, value in (keys | changes).items() if value is not None})
    return path


def test_an_archive(tmp_path: Path) -> None:
    calculation = read_any(archive(tmp_path / "a.npz"))
    np.testing.assert_array_equal(to_csr(calculation.require_overlap()).toarray(), S)
    np.testing.assert_array_equal(to_csr(calculation.require_hamiltonian()).toarray(), H * HARTREE_IN_EV)
    assert calculation.basis.name == "SZV-MOLOPT-SR-GTH"
    assert calculation.energy == -2.0 * HARTREE_IN_EV
    np.testing.assert_array_equal(calculation.eigenvalues, np.array([-1.0, 0.5]) * HARTREE_IN_EV)


def test_without_overlap_eigenvalues_and_energy(tmp_path: Path) -> None:
    calculation = read_any(archive(tmp_path / "a.npz", S_val=None, S_row=None, mo_eig_ha=None, energy_ha=None))
    assert (calculation.overlap, calculation.eigenvalues, calculation.energy) == (None, None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"H_val": np.full(171, np.nan)}, "expected finite numbers in H_val, got NaN or infinity in entry 0"),
        ({"H_row": np.full(171, 18)}, "expected indices 1 to 18 for 3 atoms .*got row 19"),
        ({"H_row": np.full(171, -1)}, "expected indices from 0 in H_row and H_col, got a negative one"),
        ({"H_row": np.zeros(3)}, "expected as many H_row and H_col as H_val, got 3, 171 and 171"),
        ({"norb": np.array([10, 4, 5])}, "expected to recognise the basis by the matrix .19 orbitals for HfO2"),
        ({"numbers": np.array([72, 8])}, "expected as many atoms in numbers as in positions_ang, got 2 and 3"),
        ({"positions_ang": np.zeros((3, 3))}, "expected atoms at least 0.3 Å apart"),
        ({"cell_ang": np.zeros((3, 3))}, "expected a cell with volume"),
        (
            {"H_val": None, "cell_ang": None},
            "expected the keys .* got an archive without cell_ang, H_val .it has numbers",
        ),
    ],
)
def test_bad_archives(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=rf"a\.npz: {message}"):
        read_any(archive(tmp_path / "a.npz", **changes))


def test_a_basis_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"expected 10 orbitals on atom 0 \(Hf\), got a basis with 26"):
        read_any(archive(tmp_path / "a.npz"), basis="DZVP-MOLOPT-SR-GTH")


def test_superposed_atomic_densities_are_not_a_calculation(tmp_path: Path) -> None:
    np.savez(tmp_path / "aHfO2_372_C_H0atomic.npz", H0_triu=np.zeros(3))
    np.save(tmp_path / "aHfO2_96_A_H0atomic.npy", np.zeros((3, 3)))
    for name in ("aHfO2_372_C_H0atomic.npz", "aHfO2_96_A_H0atomic.npy"):
        with pytest.raises(
            FormatError, match=r"got only the matrix of superposed atomic densities \(H0\) without a structure"
        ):
            read_any(tmp_path / name)


@pytest.mark.parametrize("content", [b"not a zip", b"PK\x03\x04 broken", b"\x93NUMPY broken"])
def test_files_that_are_no_archives(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FormatError, match="expected a NumPy archive, got a file that cannot be read as one"):
        read_any(tmp_path / "a.npz")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", numbers=np.array([{}], dtype=object))
    with pytest.raises(FormatError, match="expected a NumPy archive"):
        read_any(tmp_path / "a.npz")
