"""NumPy archives with one structure and the upper triangles of its H and S at Γ.

Keys: `numbers`, `positions_ang`, `cell_ang`, `norb`; `H_row`, `H_col`, `H_val` and `S_row`, `S_col`, `S_val`
(from 0, Hartree); maybe `mo_eig_ha` (eigenvalues as the code printed them) and `energy_ha`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError, InputError
from nearsight.formats.basis_choice import choose_basis, said_of
from nearsight.formats.npz_file import Kind, keys, read_arrays
from nearsight.formats.options import ReadOptions
from nearsight.formats.structure_files import as_cell, check_distances
from nearsight.formats.triplets import Triplets, assemble
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

_NEEDED = ("numbers", "positions_ang", "cell_ang", "H_row", "H_col", "H_val")
_KNOWN: dict[str, tuple[Kind, int | tuple[int, ...]]] = {
    "numbers": ("float", 1),
    "positions_ang": ("float", 2),
    "cell_ang": ("float", 2),
    "norb": ("integer", 1),
    **{f"{letter}_{part}": ("integer", 1) for letter in "HS" for part in ("row", "col")},
    **{f"{letter}_val": ("float", 1) for letter in "HS"},
    "mo_eig_ha": ("float", 1),
    "energy_ha": ("float", (0, 1)),
}
"""Arrays that are read, with what they hold and how many dimensions they have; others are not looked at."""


def recognises(path: Path) -> bool:
    """Tell whether a file is a NumPy archive or array."""
    return path.is_file() and path.suffix in (".npz", ".npy")


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one archive.

    Parameters
    ----------
    path : pathlib.Path
        The archive.
    options : ReadOptions
        Additions of the user.

    Returns
    -------
    Calculation
        Structure, H and S.

    Raises
    ------
    FormatError
        If keys are missing, or arrays are damaged or do not fit each other.
    """
    data = _load(path)
    structure = _structure(path, data, options)
    basis = choose_basis(path, structure, options, sizes=data.get("norb"))
    hamiltonian = _operator(path, data, "H", structure, basis)
    return Calculation(
        structure,
        basis,
        hamiltonian.with_values(hamiltonian.values * HARTREE_IN_EV),
        _operator(path, data, "S", structure, basis) if "S_val" in data else None,
        energy=_energy(path, data["energy_ha"]) if "energy_ha" in data else None,
        eigenvalues=np.sort(data["mo_eig_ha"]) * HARTREE_IN_EV if "mo_eig_ha" in data else None,
        provenance={
            "format": "NumPy archive",
            "source": path.name,
            "entries": "upper triangle",
            "basis": said_of(basis, options),
        },
    )


def _energy(path: Path, value: np.ndarray) -> float:
    """eV."""
    if value.size != 1:
        raise FormatError(path, f"expected one number in energy_ha, got {value.size}")
    return float(value.reshape(-1)[0]) * HARTREE_IN_EV


def _structure(path: Path, data: Mapping[str, np.ndarray], options: ReadOptions) -> Structure:
    numbers, positions = data["numbers"], data["positions_ang"]
    if len(numbers) != len(positions):
        raise FormatError(
            path, f"expected as many atoms in numbers as in positions_ang, got {len(numbers)} and {len(positions)}"
        )
    cell = data["cell_ang"] if options.cell is None else as_cell(options.cell)
    try:
        structure = Structure(numbers, positions, cell, np.ones(3, dtype=bool))
        check_distances(structure)
    except InputError as error:
        raise FormatError(path, str(error)) from error
    return structure


def _load(path: Path) -> Mapping[str, np.ndarray]:
    held = keys(path)
    missing, found = [key for key in _NEEDED if key not in held], read_arrays(path, _KNOWN)
    if not missing:
        return found
    if "graph" in held and "numbers" not in held:
        raise FormatError(
            path,
            "expected arrays of numbers, got HamGNN's graph_data.npz, which holds pickled Python objects; they could "
            "run any code and are not read. Import the DFT code's own files, or DeepH's or dftio's folder of them",
        )
    if "H0" in path.name or "H0_triu" in held:
        raise FormatError(
            path,
            "expected structure, H and S, got only the matrix of superposed atomic densities (H0) "
            "without a structure; give the archive of the calculation, without `_H0atomic`, and this one with "
            "--h0",
        )
    raise FormatError(
        path,
        f"expected the keys {', '.join(_NEEDED)}, got an archive without {', '.join(missing)} "
        f"(it has {', '.join(held[:20]) or 'a bare array'})",
    )


def _operator(
    path: Path, data: Mapping[str, np.ndarray], letter: str, structure: Structure, basis: BasisSet
) -> BlockOperator:
    lacking = [f"{letter}_{part}" for part in ("row", "col", "val") if f"{letter}_{part}" not in data]
    if lacking:
        raise FormatError(path, f"expected {letter}_row, {letter}_col and {letter}_val, got no {', '.join(lacking)}")
    rows, columns, values = (data[f"{letter}_{part}"] for part in ("row", "col", "val"))
    if not (rows.shape == columns.shape == values.shape):
        raise FormatError(
            path,
            f"expected as many {letter}_row and {letter}_col as {letter}_val, got "
            f"{len(rows)}, {len(columns)} and {len(values)}",
        )
    if len(rows) and min(rows.min(), columns.min()) < 0:
        raise FormatError(path, f"expected indices from 0 in {letter}_row and {letter}_col, got a negative one")
    if len(rows) and max(rows.max(), columns.max()) > np.iinfo(np.int32).max:
        raise FormatError(path, f"expected indices below 2^31 in {letter}_row and {letter}_col, got larger ones")
    triplets = Triplets(path, rows.astype(np.int32), columns.astype(np.int32), values.astype(np.float64))
    return assemble(triplets, structure.numbers, basis)[0]
