"""DeepH's present layout ("deepx"), which DeepH-dock writes and reads: a folder for each structure.

`POSCAR` holds the structure, `info.json` the shells of each element (`elements_orbital_map`), the Fermi level and
whether there is spin. `hamiltonian.h5` (or `hamiltonian_pred.h5`, what a network made) and `overlap.h5` hold blocks
⟨i, 0|O|j, R⟩ in eV: `atom_pairs` (P, 5) is (R, i, j) with atoms from 0 in POSCAR's order, `chunk_shapes` (P, 2) and
`chunk_boundaries` (P+1) say how `entries` is cut, row-major. Orbitals are in the internal order. Both directions of
each pair are there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import number_of, symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import file_if_there, read_text
from nearsight.formats.hdf5_files import opened
from nearsight.formats.options import ReadOptions
from nearsight.formats.real_space_blocks import ForeignOrbitals, from_blocks, unit_overlap
from nearsight.formats.sniffing import is_folder_of
from nearsight.formats.structure_files import read_structure
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_content import array
from nearsight.operators.hdf5_writing import hdf5_written_atomically
from nearsight.operators.symmetry import permute
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import CP2K
from nearsight.structures.structure import Structure

POSCAR, INFO, OVERLAP, HAMILTONIAN, PREDICTION = (
    "POSCAR",
    "info.json",
    "overlap.h5",
    "hamiltonian.h5",
    "hamiltonian_pred.h5",
)
_MATRICES = (HAMILTONIAN, PREDICTION, OVERLAP)
_EXPECTED = f"DeepH's folder with {POSCAR}, {INFO}, {HAMILTONIAN} and {OVERLAP}"
_OWN = "nearsight"
"""Key of `info.json` with what the layout has no words for."""
_UNIT = 1e-8
"""Largest |S − 1| of an orthogonal basis."""
_FREE_SPACE = 20.0
"""Å of vacuum around a molecule that is written into a periodic cell."""


def recognises(path: Path) -> bool:
    """Tell whether a path is such a folder, or one of its matrices."""
    return is_folder_of(path, POSCAR, _MATRICES)


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder, or one of its two Hamiltonians.
    options : ReadOptions
        `structure` and `overlap` take the place of POSCAR and overlap.h5.

    Returns
    -------
    Calculation
        H (its Hermitian part where it is a prediction) and S, where they are there.

    Raises
    ------
    FormatError
        If a file is missing or damaged, does not fit the others, or there is spin.
    """
    folder = path if path.is_dir() else path.parent
    info = _read_info(folder / INFO)
    structure = _structure(folder, options, info)
    basis = _basis(folder / INFO, info, structure)
    source = _hamiltonian_file(path, folder)
    overlap_file = options.overlap or file_if_there(folder / OVERLAP, "DeepH's file of S")
    orbitals = ForeignOrbitals(structure.numbers, basis, CP2K)
    h = None if source is None else _read_matrix(source, orbitals, "H", hermitian=source.name != PREDICTION)
    s = None if overlap_file is None else _read_matrix(overlap_file, orbitals, "S")
    s = of_orthogonal(folder / INFO, info.orthogonal, orbitals, s)
    if info.own.folded:
        h, s = (None if operator is None else _folded(folder, operator) for operator in (h, s))
    said = {"format": "DeepH (deepx)", "source": folder.name, "basis": basis.name}
    if source is not None and source.name == PREDICTION:
        said["hamiltonian"] = "a prediction; its Hermitian part"
    if info.electrons is not None:
        said["electrons"] = f"{info.electrons:g}"
    charge = charge_of(folder / INFO, info.own, info.electrons, basis, structure)
    return Calculation(structure, basis, h, s, fermi=info.fermi, charge=charge, provenance=said)


def of_orthogonal(
    path: Path, orthogonal: bool, orbitals: ForeignOrbitals, overlap: BlockOperator | None
) -> BlockOperator | None:
    """Return S, which is 1 where the basis is said to be orthogonal and there is none.

    Raises
    ------
    FormatError
        If the basis is said to be orthogonal and S says otherwise.
    """
    if not orthogonal:
        return overlap
    unit = unit_overlap(orbitals.numbers, orbitals.basis)
    if overlap is None:
        return unit
    same = unit.on_pairs(overlap.source, overlap.target, overlap.shift)
    worst = float(np.abs(overlap.values - same.values).max(initial=0))
    if worst > _UNIT:
        raise FormatError(
            path, f"expected S = 1 of an orthogonal basis, as it says, got elements that differ by {worst:.3g}"
        )
    return overlap


def charge_of(path: Path, own: OwnWords, electrons: float | None, basis: BasisSet, structure: Structure) -> float:
    """Return the charge: that which nearsight wrote, or what is missing in the number of electrons.

    Raises
    ------
    FormatError
        If the two differ.
    """
    counted = 0.0
    if electrons is not None and all(z in basis.valence for z in structure.elements):
        counted = basis.n_electrons(structure.numbers) - electrons
        if own.charge is not None and abs(own.charge - counted) > 0.5:
            raise FormatError(path, f"expected an occupation that fits the charge {own.charge:g}, got {electrons:g}")
    return counted if own.charge is None else own.charge


@dataclass(frozen=True)
class _Info:
    shells: Mapping[str, tuple[int, ...]]
    fermi: float | None
    electrons: float | None
    counts: tuple[int | None, int | None]
    orthogonal: bool
    own: OwnWords


def _read_info(path: Path) -> _Info:
    said = read_json(path, "DeepH's info.json")
    if not isinstance(said.get("elements_orbital_map"), dict):
        raise FormatError(path, "expected the shells of each element as elements_orbital_map, got none")
    if said.get("spinful", False) is not False:
        raise FormatError(
            path, "expected matrices without spin, got spinful matrices; spin and spin-orbit coupling are not supported"
        )
    shells = {str(symbol): shells_of(path, symbol, ls) for symbol, ls in said["elements_orbital_map"].items()}
    own = read_own_words(path, said)
    return _Info(
        shells,
        optional_number(path, said, "fermi_energy_eV") if own.fermi_known else None,
        optional_number(path, said, "occupation"),
        (count(path, said, "atoms_quantity"), count(path, said, "orbits_quantity")),
        said.get("orthogonal_basis") is True,
        own,
    )


@dataclass(frozen=True)
class OwnWords:
    """What nearsight adds to `info.json` where DeepH's layouts have no words for it.

    Attributes
    ----------
    basis : str or None
        Name of the basis.
    valence : mapping of str to int
        Element symbol → valence.
    pbc : tuple of bool or None
        Which directions are periodic.
    folded : bool
        Whether the matrices are summed at Γ.
    charge : float or None
        Total charge in units of e.
    fermi_known : bool
        Whether the Fermi level is one.
    """

    basis: str | None
    valence: Mapping[str, int]
    pbc: tuple[bool, bool, bool] | None
    folded: bool
    charge: float | None
    fermi_known: bool

    def valence_of(self, elements: Iterable[int]) -> dict[int, int]:
        """Return the valence of those elements that are known."""
        return {z: self.valence[symbol_of(z)] for z in elements if symbol_of(z) in self.valence}


def read_own_words(path: Path, said: Mapping[str, Any]) -> OwnWords:
    """Read what nearsight added to `info.json`, if anything.

    Parameters
    ----------
    path : pathlib.Path
        The file, for messages.
    said : mapping
        Its content.

    Raises
    ------
    FormatError
        If it is anything else.
    """
    held = said.get(_OWN)
    own: dict[str, Any] = held if isinstance(held, dict) else {}
    pbc = own.get("pbc")
    if pbc is not None and (not isinstance(pbc, list) or len(pbc) != 3 or not all(isinstance(x, bool) for x in pbc)):
        raise FormatError(path, f"expected pbc as three truth values, got {pbc!r:.80}")
    name = own.get("basis")
    return OwnWords(
        name if isinstance(name, str) and name.isprintable() else None,
        _valence(path, own.get("valence", {})),
        None if pbc is None else (pbc[0], pbc[1], pbc[2]),
        own.get("folded") is True,
        optional_number(path, own, "charge"),
        own.get("fermi_known") is not False,
    )


def own_words(calculation: Calculation) -> dict[str, Any]:
    """Return what nearsight adds to `info.json`, by its key."""
    basis = calculation.basis.restricted(calculation.structure.elements)
    operator = calculation.hamiltonian or calculation.overlap
    said = {
        "basis": basis.name,
        "valence": {symbol_of(z): v for z, v in basis.valence.items()},
        "pbc": calculation.structure.pbc.tolist(),
        "folded": operator is not None and operator.folded,
        "charge": calculation.charge,
        "fermi_known": calculation.fermi is not None,
    }
    return {_OWN: said}


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected : str
        What it should be, in words.

    Raises
    ------
    FormatError
        If it is anything else.
    """
    text = read_text(path, expected, largest=1 << 28)
    try:
        said = json.loads(text)
    except ValueError as error:
        raise FormatError(path, f"expected {expected}, got a text that is not JSON ({error})") from error
    if not isinstance(said, dict):
        raise FormatError(path, f"expected {expected}, got {type(said).__name__} instead of an object")
    return said


def shells_of(path: Path, element: object, momenta: Any) -> tuple[int, ...]:
    """Check a list of angular momenta.

    Raises
    ------
    FormatError
        If it is anything else.
    """
    good = isinstance(momenta, list) and momenta and all(type(l) is int and 0 <= l <= 6 for l in momenta)
    if not good or len(momenta) > 200:
        raise FormatError(path, f"expected a list of l for {element!s:.40}, such as [0, 0, 1], got {momenta!r:.80}")
    return tuple(momenta)


def optional_number(path: Path, said: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number that may be missing or null.

    Raises
    ------
    FormatError
        If it is anything else.
    """
    value = said.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e10:
        raise FormatError(path, f"expected a number as {key}, got {value!r:.80}")
    return float(value)


def count(path: Path, said: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number that may be missing or null.

    Raises
    ------
    FormatError
        If it is anything else.
    """
    value = optional_number(path, said, key)
    if value is not None and value != int(value):
        raise FormatError(path, f"expected a whole number as {key}, got {value}")
    return None if value is None else int(value)


def _valence(path: Path, said: Any) -> dict[str, int]:
    if not isinstance(said, dict) or not all(type(v) is int and 0 <= v < 200 for v in said.values()):
        raise FormatError(path, f"expected the valence of each element, got {said!r:.80}")
    return said


def _structure(folder: Path, options: ReadOptions, info: _Info) -> Structure:
    structure = read_structure(options.structure or folder / POSCAR, options.cell, isolated=options.isolated)
    if info.counts[0] not in (None, len(structure)):
        raise FormatError(folder / INFO, f"expected {len(structure)} atoms as in {POSCAR}, got {info.counts[0]}")
    if info.own.pbc is None or options.isolated:
        return structure
    return Structure(structure.numbers, structure.positions, structure.cell, np.array(info.own.pbc))


def _basis(path: Path, info: _Info, structure: Structure) -> BasisSet:
    shells = {}
    for symbol, ls in info.shells.items():
        z = number_of(symbol)
        if z is None:
            raise FormatError(path, f"expected chemical symbols in elements_orbital_map, got {symbol!r:.40}")
        shells[z] = ls
    missing = [symbol_of(z) for z in structure.elements if z not in shells]
    if missing:
        raise FormatError(path, f"expected the shells of {', '.join(missing)} in elements_orbital_map, got none")
    basis = BasisSet(info.own.basis or "of DeepH's files", shells, _known_valence(info, structure))
    basis = basis.restricted(structure.elements)
    n = int(basis.offsets(structure.numbers)[-1])
    if info.counts[1] not in (None, n):
        raise FormatError(path, f"expected orbits_quantity {n} for {basis.describe()}, got {info.counts[1]}")
    return basis


def _known_valence(info: _Info, structure: Structure) -> dict[int, int]:
    """Of each element by our own words, or of the only one, whose atoms share the electrons."""
    if (
        not info.own.valence
        and len(structure.elements) == 1
        and info.electrons
        and info.electrons % len(structure) == 0
    ):
        return {structure.elements[0]: int(info.electrons) // len(structure)}
    return info.own.valence_of(structure.elements)


def _hamiltonian_file(path: Path, folder: Path) -> Path | None:
    if path.name in (HAMILTONIAN, PREDICTION) and path.is_file():
        return path
    found = (file_if_there(folder / name, "DeepH's file of H") for name in (HAMILTONIAN, PREDICTION))
    return next((file for file in found if file is not None), None)


def _read_matrix(path: Path, orbitals: ForeignOrbitals, name: str, hermitian: bool = True) -> BlockOperator:
    with opened(path, f"DeepH's file of {name} (atom_pairs, chunk_shapes, chunk_boundaries, entries)") as file:
        pairs = array(file, "atom_pairs", "integer", (None, 5))
        shapes = array(file, "chunk_shapes", "integer", (len(pairs), 2))
        bounds = array(file, "chunk_boundaries", "integer", (len(pairs) + 1,))
        entries = array(file, "entries", "float", (None,))
    sizes = orbitals.basis.sizes(orbitals.numbers)
    atoms = pairs[:, 3:]
    inside: np.ndarray = np.all((atoms >= 0) & (atoms < len(sizes)), axis=1)
    fitting = sizes[np.where(inside[:, None], atoms, 0)]
    wrong = np.flatnonzero(inside & (shapes - fitting).any(axis=1))
    if len(wrong):
        k = int(wrong[0])
        raise FormatError(
            path,
            f"expected a block of {sizes[atoms[k, 0]]} × {sizes[atoms[k, 1]]} for atoms {atoms[k, 0]} and "
            f"{atoms[k, 1]} (from 0), got {shapes[k, 0]} × {shapes[k, 1]}; is it another basis, or a matrix with spin?",
        )
    if not inside.all():
        k = int(np.argmin(inside))
        raise FormatError(path, f"expected atoms 0 to {len(sizes) - 1} in atom_pairs, got {atoms[k].tolist()}")
    if bounds[0] != 0 or bounds[-1] != len(entries) or (np.diff(bounds) != shapes.prod(axis=1)).any():
        raise FormatError(
            path, f"expected chunk_boundaries that cut {len(entries)} entries into blocks of chunk_shapes, got others"
        )
    return from_blocks(path, orbitals, pairs[:, [3, 4, 0, 1, 2]], entries, hermitian=hermitian)


def _folded(path: Path, operator: BlockOperator) -> BlockOperator:
    if operator.shift.any():
        raise FormatError(path, "expected R = 0 in all blocks of matrices that are summed at Γ, got others")
    return BlockOperator(
        operator.numbers, operator.basis, operator.source, operator.target, operator.shift, operator.values, True
    )


def write(path: Path, calculation: Calculation, *, prediction: bool = False) -> list[Path]:
    """Write a folder.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    calculation : Calculation
        Structure, basis, and H or S or both.
    prediction : bool, default False
        Whether H is written as `hamiltonian_pred.h5`, what DeepH calls a network's output.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If there is neither H nor S, or a file cannot be written.

    Notes
    -----
    POSCAR lists the atoms by element, so that atoms may come in another order; the matrices follow. What the layout
    does not know (which directions are periodic, matrices that are summed at Γ and hence written with R = 0, valences)
    stands in `info.json` under `nearsight`. A molecule is put into a cell with 20 Å of vacuum.
    """
    h, s = calculation.hamiltonian, calculation.overlap
    if h is None and s is None:
        raise InputError("expected H or S to write, got neither")
    order, structure = grouped(calculation.structure)
    make_folder(path)
    files = [path / POSCAR, path / INFO]
    write_text_atomically(files[0], poscar(structure))
    write_text_atomically(files[1], json.dumps(_info(calculation, structure), indent=1) + "\n")
    for operator, name in ((s, OVERLAP), (h, PREDICTION if prediction else HAMILTONIAN)):
        if operator is not None:
            files.append(path / name)
            _write_matrix(path / name, permute(operator, order))
    return files


def make_folder(path: Path) -> None:
    """Make the folder that files are written into.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"expected a folder to write into, got {path}: {error.strerror or error}") from error


def grouped(structure: Structure) -> tuple[np.ndarray, Structure]:
    """Bring the atoms of each element together, elements by their first atom, and give a molecule a cell.

    Parameters
    ----------
    structure : Structure
        Any structure.

    Returns
    -------
    order : (N,) array of int64
        Atom k of the result is atom `order[k]`.
    structure : Structure
        The atoms in this order, in a cell with volume.
    """
    first = {int(z): k for k, z in reversed(list(enumerate(structure.numbers)))}
    rank = np.array([first[int(z)] for z in structure.numbers])
    order = np.argsort(rank, kind="stable")
    return order, in_a_cell(structure.permuted(order))


def in_a_cell(structure: Structure) -> Structure:
    """Return a structure whose cell has volume: along directions that are not periodic there is vacuum.

    Parameters
    ----------
    structure : Structure
        Any structure.

    Returns
    -------
    Structure
        The same atoms at the same places, and the same periodic directions.
    """
    if structure.volume > 1e-3:
        return structure
    cell = np.array(structure.cell)
    kept = [k for k in range(3) if structure.pbc[k]]
    free = [k for k in range(3) if k not in kept]
    extent = float(np.ptp(structure.positions, axis=0).max()) + _FREE_SPACE
    cell[free] = (np.linalg.svd(cell[kept])[2][len(kept) :] if kept else np.eye(3)) * extent
    return Structure(structure.numbers, structure.positions, cell, structure.pbc)


def poscar(structure: Structure) -> str:
    """Return a structure whose atoms are grouped by element as VASP's POSCAR, with all digits."""
    changes = np.flatnonzero(np.diff(structure.numbers)) + 1
    groups = np.split(structure.numbers, changes)
    lines = [f"{structure.formula}, written by nearsight", "1.0"]
    lines += [" ".join(f"{x!r}" for x in row) for row in structure.cell.tolist()]
    lines.append(" ".join(symbol_of(int(group[0])) for group in groups))
    lines.append(" ".join(str(len(group)) for group in groups))
    lines.append("Cartesian")
    lines += [" ".join(f"{x!r}" for x in row) for row in structure.positions.tolist()]
    return "\n".join(lines) + "\n"


def _info(calculation: Calculation, structure: Structure) -> dict[str, Any]:
    basis = calculation.basis.restricted(structure.elements)
    said: dict[str, Any] = {
        "atoms_quantity": len(structure),
        "orbits_quantity": int(basis.offsets(structure.numbers)[-1]),
        "orthogonal_basis": False,
        "spinful": False,
        "fermi_energy_eV": 0.0 if calculation.fermi is None else calculation.fermi,
        "elements_orbital_map": {
            symbol_of(z): list(basis.shells[z]) for z in dict.fromkeys(structure.numbers.tolist())
        },
    }
    if all(z in basis.valence for z in structure.elements):
        said["occupation"] = calculation.n_electrons
    return said | own_words(calculation)


def _write_matrix(path: Path, operator: BlockOperator) -> None:
    sizes = operator.basis.sizes(operator.numbers)
    with hdf5_written_atomically(path) as file:
        file["atom_pairs"] = np.column_stack([operator.shift, operator.source, operator.target])
        file["chunk_shapes"] = np.column_stack([sizes[operator.source], sizes[operator.target]])
        file["chunk_boundaries"] = operator.offsets
        file["entries"] = operator.values
