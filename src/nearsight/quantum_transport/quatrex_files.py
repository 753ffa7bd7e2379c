"""Input of quatrex: H and S in HDF5, one group for each cell vector, with structure and energies beside them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from scipy import sparse

from nearsight.atomic_files import written_atomically
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_writing import hdf5_written_atomically


def write_quatrex(calculation: Calculation, folder: str | Path, energies: np.ndarray | None = None) -> list[Path]:
    """Write `hamiltonian.h5`, `overlap.h5`, `structure.xyz` and, where energies are given, `electron_energies.npy`.

    Parameters
    ----------
    calculation : Calculation
        H and S in real space.
    folder : str or Path
        Such as `inputs`; made if it is not there.
    energies : (E,) array of float, optional
        eV.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        If a matrix is missing or folded to Γ, or a file cannot be written.

    Notes
    -----
    Each group `[x,y,z]` is H(R) in CSR (attributes `format` and `shape`; `data`, `indices`, `indptr`). This follows
    quatrex's description of its input; the configuration (`quatrex_config.toml`) is left to the user.
    """
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    if h.folded or s.folded:
        raise InputError("expected H and S in real space for quatrex, got matrices that are summed at Γ")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    files = [place / "hamiltonian.h5", place / "overlap.h5", place / "structure.xyz"]
    _write(files[0], h)
    _write(files[1], s)
    with written_atomically(files[2]) as temporary:
        calculation.structure.to_ase().write(temporary, format="extxyz")
    if energies is not None:
        files.append(place / "electron_energies.npy")
        with written_atomically(files[3]) as temporary, open(temporary, "wb") as handle:
            np.save(handle, np.asarray(energies, dtype=np.float64))
    return files


def read_quatrex(path: str | Path) -> dict[tuple[int, int, int], sparse.csr_matrix]:
    """Read a file that `write_quatrex` wrote: cell vector → matrix.

    Parameters
    ----------
    path : str or Path
        `hamiltonian.h5` or `overlap.h5`.

    Raises
    ------
    InputError
        If a group is of another layout.
    """
    result = {}
    with h5py.File(path, "r") as file:
        for name, group in file.items():
            if group.attrs.get("format") != "csr":
                raise InputError(f"{path}: expected CSR matrices, got {group.attrs.get('format')!r} in {name}")
            x, y, z = (int(part) for part in name.strip("[]").split(","))
            parts = group["data"][()], group["indices"][()], group["indptr"][()]
            result[x, y, z] = sparse.csr_matrix(parts, shape=tuple(group.attrs["shape"]))
    return result


def _write(path: Path, operator: BlockOperator) -> None:
    with hdf5_written_atomically(path) as file:
        for cell in np.unique(operator.shift, axis=0):
            part = operator.select(np.all(operator.shift == cell, axis=1))
            matrix = bloch(part, np.zeros(3)).real.tocsr()
            group = file.create_group("[" + ",".join(str(int(x)) for x in cell) + "]")
            group.attrs.update({"format": "csr", "shape": matrix.shape})
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(matrix, name)
