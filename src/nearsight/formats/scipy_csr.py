"""H and S as SciPy's sparse matrices, for whoever goes on in Python without any program of the field.

`hamiltonian.npz` and `overlap.npz` are matrices (n, n·nR) in CSR, as `scipy.sparse.save_npz` writes them: columns n·c
to n·(c+1) are ⟨i, 0|O|j, R_c⟩ in eV, and `cells.npy` (nR, 3) holds R_c, the home cell first. `structure.xyz` has the
atoms, `orbitals.csv` what each row is. Order and signs are the internal ones.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from scipy import sparse

from nearsight.atomic_files import write_text_atomically, written_atomically
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.formats.deepx import in_a_cell, make_folder
from nearsight.formats.real_space_blocks import elements_of
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation

HAMILTONIAN, OVERLAP = "hamiltonian.npz", "overlap.npz"


def write(path: Path, calculation: Calculation) -> list[Path]:
    """Write a folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    calculation : Calculation
        H or S or both, in real space or at Γ.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If there is neither H nor S, or a file cannot be written.
    """
    held = {HAMILTONIAN: calculation.hamiltonian, OVERLAP: calculation.overlap}
    operators = {name: operator for name, operator in held.items() if operator is not None}
    if not operators:
        raise InputError("expected H or S to write, got neither")
    make_folder(path)
    shifts = np.unique(np.concatenate([o.shift for o in operators.values()] + [np.zeros((1, 3), np.int64)]), axis=0)
    cells = shifts[np.argsort(np.abs(shifts).sum(axis=1), kind="stable")]
    files = [path / name for name in ("cells.npy", "structure.xyz", "orbitals.csv", *operators)]
    _write_array(files[0], cells)
    with written_atomically(files[1]) as temporary:
        in_a_cell(calculation.structure).to_ase().write(temporary, format="extxyz")
    write_text_atomically(files[2], orbital_table(next(iter(operators.values()))))
    for file, operator in zip(files[3:], operators.values()):
        with written_atomically(file) as temporary, open(temporary, "wb") as raw:
            sparse.save_npz(raw, _matrix(operator, cells))
    return files


def _matrix(operator: BlockOperator, cells: np.ndarray) -> sparse.csr_matrix:
    n = operator.n_orbitals
    place = {cell: k for k, cell in enumerate(map(tuple, cells.tolist()))}
    parts = list(elements_of(operator, np.arange(n), np.ones(n)))
    rows = np.concatenate([part.rows for part in parts])
    columns = np.concatenate([part.columns + n * place[part.cell] for part in parts])
    values = np.concatenate([part.values for part in parts])
    return sparse.csr_matrix((values, (rows, columns)), shape=(n, n * len(cells)))


def orbital_table(operator: BlockOperator) -> str:
    """Return atom, element, shell, l and m of every row of a matrix, as CSV."""
    lines = ["orbital,atom,element,shell,l,m"]
    for atom, z in enumerate(operator.numbers.tolist()):
        for shell, l in enumerate(operator.basis.shells[z]):
            lines += [f"{len(lines) - 1 + k},{atom},{symbol_of(z)},{shell},{l},{k - l}" for k in range(2 * l + 1)]
    return "\n".join(lines) + "\n"


def _write_array(path: Path, values: np.ndarray) -> None:
    array = io.BytesIO()
    np.save(array, values)
    with written_atomically(path) as temporary:
        Path(temporary).write_bytes(array.getvalue())
