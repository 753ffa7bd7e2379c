"""H and S at Γ as PETSc's binary matrices, for SLEPc and others: `MatLoad` reads them.

A file is big-endian: the number 1211216 of a matrix, rows, columns, number of elements, the number of elements of each
row and the columns (all int32), and the values (float64); PETSc with real scalars and 32-bit indices, its default.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.atomic_files import write_text_atomically, written_atomically
from nearsight.errors import InputError
from nearsight.formats.deepx import in_a_cell, make_folder
from nearsight.formats.scipy_csr import orbital_table
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation

HAMILTONIAN, OVERLAP = "hamiltonian.petsc", "overlap.petsc"
_MATRIX = 1211216
"""MAT_FILE_CLASSID."""


def write(path: Path, calculation: Calculation) -> list[Path]:
    """Write a folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    calculation : Calculation
        H or S or both; matrices in real space are summed at Γ.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If there is neither H nor S, there are more elements than 32 bits count, or a file cannot be written.
    """
    held = {HAMILTONIAN: calculation.hamiltonian, OVERLAP: calculation.overlap}
    operators = {name: operator for name, operator in held.items() if operator is not None}
    if not operators:
        raise InputError("expected H or S to write, got neither")
    make_folder(path)
    files = [path / name for name in ("structure.xyz", "orbitals.csv", *operators)]
    with written_atomically(files[0]) as temporary:
        in_a_cell(calculation.structure).to_ase().write(temporary, format="extxyz")
    write_text_atomically(files[1], orbital_table(next(iter(operators.values()))))
    for file, operator in zip(files[2:], operators.values()):
        _write_matrix(file, operator if operator.folded else fold(operator))
    return files


def _write_matrix(path: Path, operator: BlockOperator) -> None:
    matrix = to_csr(operator)
    matrix.sort_indices()
    if matrix.nnz >= 2**31:
        raise InputError(f"expected fewer than 2³¹ elements for PETSc's 32-bit indices, got {matrix.nnz}")
    head = np.array([_MATRIX, *matrix.shape, matrix.nnz], dtype=">i4")
    parts = (head, np.diff(matrix.indptr).astype(">i4"), matrix.indices.astype(">i4"), matrix.data.astype(">f8"))
    with written_atomically(path) as temporary, open(temporary, "wb") as raw:
        for part in parts:
            raw.write(part.tobytes())
