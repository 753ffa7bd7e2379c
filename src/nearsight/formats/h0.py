"""H₀, the Kohn-Sham matrix of superposed atomic densities at Γ, for a calculation that is at hand.

It comes from a file with the matrix alone: CP2K's .csr or the text of its &AO_MATRICES (the first Kohn-Sham matrix in
it), .npy with the whole matrix, or .npz with `H0_triu`, the upper triangle row by row (`np.triu_indices`); all in
Hartree. Or from any source that can be imported by itself: then its H is H₀.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.foreign_files import reading, require_readable
from nearsight.formats import cp2k_ao_matrices
from nearsight.formats.cp2k_csr import read_csr
from nearsight.formats.npz_file import read_arrays, read_bare
from nearsight.formats.registry import read_any
from nearsight.formats.sniffing import first_bytes
from nearsight.formats.triplets import Triplets, assemble, check_complete
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.invariants import check_operator
from nearsight.progress import Progress, silent
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

TRIANGLE = "H0_triu"
_EXPECTED = "a NumPy array or archive"

SAME_PLACE = 1e-3
"""Å; positions of one structure in files of two programs may differ by this."""


def read_h0(path: str | Path, calculation: Calculation, progress: Progress = silent) -> BlockOperator:
    """Read H₀ on the atoms and in the basis of a calculation.

    Parameters
    ----------
    path : str or pathlib.Path
        A file with the matrix alone, or a calculation; see above.
    calculation : Calculation
        Says which orbitals the rows are.
    progress : Progress, default silent
        Told the bytes that are read.

    Returns
    -------
    BlockOperator
        H₀, eV.

    Raises
    ------
    FormatError
        If there is no such file, its format is not known, it is damaged, or it is of another size, structure or basis.
    """
    path = Path(path)
    require_readable(path, "a matrix H₀")
    with reading(path, "a matrix H₀ (.csr, .npy, .npz) or a calculation of it"):
        return _read(path, calculation, progress)


def _read(path: Path, calculation: Calculation, progress: Progress) -> BlockOperator:
    bare = _bare_matrix(path, calculation, progress)
    if bare is None:
        return _of_source(path, calculation)
    n_orbitals = _size(calculation)
    operator, _ = assemble(bare, calculation.structure.numbers, calculation.basis)
    check_complete(bare, n_orbitals, n_orbitals // 1000 + 1)
    operator.values[:] *= HARTREE_IN_EV
    check_operator("H₀", operator)
    return operator


def _bare_matrix(path: Path, calculation: Calculation, progress: Progress) -> Triplets | None:
    """The entries (Hartree) of a file that holds nothing but a matrix; None for any other."""
    if path.is_file() and path.suffix == ".csr":
        return read_csr(path, progress)[0]
    if cp2k_ao_matrices.recognises(path):
        return _entries(path, cp2k_ao_matrices.read_first_kohn_sham(path, _size(calculation)), calculation)
    if not (path.is_file() and path.suffix in (".npy", ".npz")):
        return None
    matrix = _load(path)
    return None if matrix is None else _entries(path, matrix, calculation)


def _load(path: Path) -> np.ndarray | None:
    """The array of a .npy, or the triangle of an .npz; None where an .npz has no such key."""
    with reading(path, _EXPECTED):
        bare = read_bare(path, "float", (1, 2))
        return read_arrays(path, {TRIANGLE: ("float", 1)}, _EXPECTED).get(TRIANGLE) if bare is None else bare


def _entries(path: Path, matrix: np.ndarray, calculation: Calculation) -> Triplets:
    """The nonzeros of a whole matrix, or of an upper triangle row by row."""
    n = _size(calculation)
    triangle = n * (n + 1) // 2
    if matrix.shape not in ((n, n), (triangle,)):
        raise FormatError(
            path,
            f"expected a matrix of {n} × {n} or its upper triangle ({triangle} numbers) for "
            f"{calculation.structure.formula} in {_basis(calculation)}, got shape {matrix.shape}; "
            "is it of another structure or another basis?",
        )
    if not np.issubdtype(matrix.dtype, np.floating) or not np.isfinite(matrix).all():
        raise FormatError(path, f"expected finite real numbers, got NaN, infinity or another type ({matrix.dtype})")
    if matrix.ndim == 2:
        rows, columns = np.nonzero(matrix)
        values = matrix[rows, columns]
    else:
        kept = np.flatnonzero(matrix)
        rows, columns = (index[kept] for index in np.triu_indices(n))
        values = matrix[kept]
    return Triplets(path, rows.astype(np.int32), columns.astype(np.int32), values.astype(np.float64))


def _of_source(path: Path, calculation: Calculation) -> BlockOperator:
    """The Hamiltonian of a source that can be imported, of the same structure."""
    if not path.exists():
        first_bytes(path, "a matrix H₀ (.csr, .npy, .npz) or a calculation of it")
    other = read_any(path)
    operator = other.h0 if other.hamiltonian is None else other.hamiltonian
    if operator is None:
        raise FormatError(path, "expected a matrix H₀, got a file without a Hamiltonian")
    if not _same_atoms(other.structure, calculation.structure):
        raise FormatError(
            path,
            f"expected H₀ of the same {len(calculation.structure)} atoms "
            f"({calculation.structure.formula}) at the same places, got "
            f"{other.structure.formula}; is it of another structure?",
        )
    basis = calculation.basis.restricted(calculation.structure.numbers)
    if operator.basis != basis:
        raise FormatError(
            path, f"expected H₀ in {basis.describe()}, got {operator.basis.describe()}; is it of another basis?"
        )
    return operator


def _same_atoms(a: Structure, b: Structure) -> bool:
    return np.array_equal(a.numbers, b.numbers) and np.allclose(a.positions, b.positions, rtol=0, atol=SAME_PLACE)


def _size(calculation: Calculation) -> int:
    return int(calculation.basis.offsets(calculation.structure.numbers)[-1])


def _basis(calculation: Calculation) -> str:
    return calculation.basis.restricted(calculation.structure.numbers).describe()
