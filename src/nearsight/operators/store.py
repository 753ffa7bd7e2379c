"""The store: one self-describing HDF5 file for a calculation, written completely or not at all, and read in part.

Layout (attributes of the root say the version, the units, the convention in words, the charge (e; 0 where it is
absent) and the multiplicity where it is known):

    structure/      numbers, positions (Å), cell (Å), pbc
    basis/          elements, shells (such as "0 0 1 2"), valence (−1 where unknown)
    hamiltonian/    source, target, shift, values (eV)
    hamiltonian_up/, hamiltonian_down/
                    the same of either spin, instead of it
    overlap/        source, target, shift, values
    h0/             as hamiltonian, of superposed atomic densities (eV); `initial_hamiltonian` in older files
    eigenvalues     eV, as the code printed them at Γ
    k_points        mesh of the calculation, in reciprocal lattice vectors
    k_eigenvalues   eV, as the code printed them at k_points
    error_estimate  eV, expected r.m.s. error of each stored block of the hamiltonian
    provenance/     plain text by key, as attributes (long texts as datasets)

Since version 2 nothing changes unseen: chunks of datasets carry HDF5's checksums (Fletcher32), and the attribute
`sha256` of the root and of each matrix is the hash of everything else in it (`hdf5_content.content_hash`). Files of
version 1 are read as they are.

The matrices of a large prediction may lie in files of their own (version 3, see `shards`).

An operator that is Hermitian to the last bit is stored as half (`storage` = "half": the pairs i < j, and i = j with R ≥
0 in lexicographic order); any other is stored whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nearsight.errors import FormatError, InputError, NearsightError
from nearsight.memory import free_bytes
from nearsight.operators.blocks import BlockOperator, is_on_site, zeros
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_content import HASH, Refused, array, attribute, check_objects, checked_dataset, number
from nearsight.operators.hdf5_probe import may_be_read
from nearsight.operators.invariants import check_calculation_values
from nearsight.operators.shards import SHARDED_VERSION, STORAGE, Shards, opened_shard, read_shards
from nearsight.operators.store_head import (
    ERROR_ESTIMATE,
    ESTIMATE_MEANING,
    FORMAT,
    OUT_OF_DISTRIBUTION,
    SCALARS,
    STRANGE_MEANING,
    UNIT_OF,
    OperatorName,
    check_hash,
    read_basis,
    read_provenance,
    read_structure,
    stored_operator,
)
from nearsight.operators.store_writer import Compression, Precision, StoreWriter, check_finite
from nearsight.operators.symmetry import in_half, is_exactly_hermitian, merged, with_transposes
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import is_ascending
from nearsight.structures.structure import Structure

_FARTHEST = 1 << 20
"""Cells between two atoms of a pair; beyond any cutoff."""
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def write_calculation(
    path: str | Path, calculation: Calculation, *, precision: Precision = "float64", compression: Compression = "gzip"
) -> None:
    """Write everything in a calculation to a store.

    Parameters
    ----------
    path : str or pathlib.Path
        The file. An old one is replaced only by a complete new one.
    calculation : Calculation
        What to write.
    precision : {"float64", "float32"}
        Number type of the matrices; all else is kept in float64.
    compression : {"gzip", "none"}
        Whether the matrices are packed.

    Raises
    ------
    InputError
        If precision or compression is not known, or the file cannot be written (no such folder, a full disk).
    """
    with StoreWriter(path, calculation, precision=precision, compression=compression) as writer:
        write_matrices(writer, calculation)


def write_matrices(writer: StoreWriter, calculation: Calculation) -> None:
    """Write all matrices of a calculation, and the expected errors of H.

    Parameters
    ----------
    writer : StoreWriter
        The store under construction.
    calculation : Calculation
        The matrices.
    """
    for name in UNIT_OF:
        operator: BlockOperator | None = getattr(calculation, name)
        if operator is not None:
            writer.write(name, operator)
    _write_estimate(writer, calculation)


def annotate_out_of_distribution(writer: StoreWriter, atoms: np.ndarray) -> None:
    """Write which atoms are in environments unlike those of the training data.

    Parameters
    ----------
    writer : StoreWriter
        The store under construction.
    atoms : ndarray of shape (N,)
        Whether each atom is one of them.
    """
    writer.annotate(OUT_OF_DISTRIBUTION, np.flatnonzero(atoms), "1", STRANGE_MEANING)


def read_calculation(
    path: str | Path, *, hamiltonian: bool = True, overlap: bool = True, h0: bool = True
) -> Calculation:
    """Read a calculation from a store. Matrices come in float64.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    hamiltonian, overlap, h0 : bool, default True
        Which matrices are loaded; the others are None in the result.

    Returns
    -------
    Calculation
        Everything in the file but the matrices that are not asked for.

    Raises
    ------
    FormatError
        If the file is not a store, damaged, or of a newer version.
    """
    with _opened(path) as file:
        structure, basis = _read_atoms(path, file)
        wanted: dict[OperatorName, bool] = {
            "hamiltonian": hamiltonian,
            "hamiltonian_up": hamiltonian,
            "hamiltonian_down": hamiltonian,
            "overlap": overlap,
            "h0": h0,
        }
        groups = {which: stored_operator(file, which) if asked else None for which, asked in wanted.items()}
        operators = {
            which: None if group is None else _read_operator(path, group, structure.numbers, basis)
            for which, group in groups.items()
        }
        scalars = {k: number(file, k) for k in SCALARS if k in file.attrs}
        eigenvalues = array(file, "eigenvalues", "float", (None,)) if "eigenvalues" in file else None
        k_points = array(file, "k_points", "float", (None, 3)) if "k_points" in file else None
        of_spins = "hamiltonian_up" in file or "hamiltonian_down" in file
        shape = (2, None, None) if of_spins else (None, None)
        k_eigenvalues = array(file, "k_eigenvalues", "float", shape) if "k_eigenvalues" in file else None
        if of_spins and not hamiltonian:
            k_eigenvalues = None
        provenance = read_provenance(group_of(file, "provenance"))
        estimate = _read_estimate(path, file, operators["hamiltonian"])
        charge = number(file, "charge") if "charge" in file.attrs else 0.0
        multiplicity = round(number(file, "multiplicity")) if "multiplicity" in file.attrs else None
    return _calculation(
        path,
        structure,
        basis,
        operators["hamiltonian"],
        operators["overlap"],
        scalars.get("cutoff"),
        scalars.get("energy"),
        scalars.get("fermi"),
        eigenvalues,
        provenance,
        operators["h0"],
        k_points,
        k_eigenvalues,
        estimate,
        charge,
        multiplicity,
        operators["hamiltonian_up"],
        operators["hamiltonian_down"],
    )


def read_blocks(path: str | Path, which: OperatorName, source_atoms: np.ndarray) -> BlockOperator:
    """Read the rows of some atoms: all pairs (i, j, R) with i among them. Only these blocks are loaded.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    which : {"hamiltonian", "overlap", "h0"}
        The matrix.
    source_atoms : (n,) array of int
        The atoms.

    Returns
    -------
    BlockOperator
        Their rows, in float64.

    Raises
    ------
    FormatError
        If the file is not a store, or does not hold this matrix.
    InputError
        If the structure does not have one of the atoms.
    """
    with _opened(path) as file:
        structure, basis = _read_atoms(path, file)
        numbers = structure.numbers
        group = _required(path, file, which)
        wanted = np.zeros(len(numbers), dtype=bool)
        atoms = np.asarray(source_atoms, dtype=np.int64)
        if len(atoms) and (atoms.min() < 0 or atoms.max() >= len(numbers)):
            raise InputError(f"expected atoms 0 to {len(numbers) - 1}, got {atoms.min()} to {atoms.max()}")
        wanted[atoms] = True
        return _read_operator(path, group, numbers, basis, wanted)


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of some atoms of a structure, as half: every pair of the structure is in one part only.

    Attributes
    ----------
    number, count : int
        Which part, from 0, and of how many.
    atoms : (n,) array of int64
        Its atoms, ascending.
    hamiltonian : BlockOperator
        Pairs of `in_half` whose first atom is one of them, eV; those of transposes are not listed.
    overlap : BlockOperator or None
        S likewise; None where it is not known.
    error_estimate : (P,) array of float or None
        eV, expected r.m.s. error of the elements of each block of H.
    """

    number: int
    count: int
    atoms: np.ndarray
    hamiltonian: BlockOperator
    overlap: BlockOperator | None
    error_estimate: np.ndarray | None


def read_parts(path: str | Path) -> Iterator[Part]:
    """Read a store part by part: shard after shard, or the whole as one part.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Yields
    ------
    Part
        The rows of some atoms, in float64; together those of all atoms.

    Raises
    ------
    FormatError
        If the file is not a store, damaged, or holds no Hamiltonian, or one that is not Hermitian or folded to Γ.
    """
    with _opened(path) as file:
        structure, basis = _read_atoms(path, file)
        for k, shards, held in _held(path, file, "hamiltonian", len(structure)):
            yield _part(path, file, held, structure, basis, k, shards)


def read_operator_parts(path: str | Path, which: OperatorName) -> Iterator[BlockOperator]:
    """Read one matrix of a store part by part, as `read_parts` does.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    which : {"hamiltonian", "overlap", "h0"}
        The matrix.

    Yields
    ------
    BlockOperator
        The pairs of `in_half` whose first atom is in the part, in float64; those of transposes are not listed.

    Raises
    ------
    FormatError
        As `read_parts`.
    """
    with _opened(path) as file:
        structure, basis = _read_atoms(path, file)
        own = _operator_basis(_required(path, file, which), basis)
        for k, _, held in _held(path, file, which, len(structure)):
            group = stored_operator(held, which)
            if group is None:
                raise FormatError(path, f"expected {which} in part {k}, got none")
            numbers, half = structure.numbers, attribute(group, "storage") == "half"
            yield _stored(group, numbers, own, own.sizes(numbers), half, False, None)


def _held(
    path: str | Path, file: h5py.File, which: OperatorName, n_atoms: int
) -> Iterator[tuple[int, Shards | None, h5py.File]]:
    """The open files with the parts of a matrix, one after another: shards, or the store itself."""
    group = _required(path, file, which)
    storage = attribute(group, "storage")
    if storage == "whole" or attribute(group, "folded"):
        raise FormatError(
            path, "expected a Hermitian matrix in real space, got one that is not, or is folded; read it as a whole"
        )
    shards = read_shards(file, n_atoms) if storage == STORAGE else None
    for k in range(1 if shards is None else shards.count):
        with nullcontext(file) if shards is None else opened_shard(Path(path), shards, k) as held:
            yield k, shards, held


def _part(
    path: str | Path,
    file: h5py.File,
    held: h5py.File,
    structure: Structure,
    basis: BasisSet,
    number: int,
    shards: Shards | None,
) -> Part:
    found: dict[str, BlockOperator | None] = {}
    for which in ("hamiltonian", "overlap"):
        said, group = stored_operator(file, which), stored_operator(held, which)
        if said is None or group is None:
            found[which] = None
            continue
        own = _operator_basis(said, basis)
        numbers, half = structure.numbers, attribute(group, "storage") == "half"
        found[which] = _stored(group, numbers, own, own.sizes(numbers), half, bool(attribute(group, "folded")), None)
    h = found["hamiltonian"]
    if h is None:
        raise FormatError(path, f"expected hamiltonian in part {number}, got none")
    estimate = array(held, ERROR_ESTIMATE, "float", (h.n_pairs,)) if ERROR_ESTIMATE in held else None
    atoms = np.arange(len(structure)) if shards is None else np.flatnonzero(shards.region == number)
    return Part(number, 1 if shards is None else shards.count, atoms, h, found["overlap"], estimate)


def _read_atoms(path: str | Path, file: h5py.File) -> tuple[Structure, BasisSet]:
    """Structure and basis, which fit each other; what they object to names the file."""
    try:
        structure, basis = read_structure(group_of(file, "structure")), read_basis(group_of(file, "basis"))
        basis.check(structure.numbers)
    except InputError as error:
        raise FormatError(path, str(error)) from error
    return structure, basis


def _calculation(path: str | Path, *parts: Any) -> Calculation:
    try:
        found = Calculation(*parts)
        check_calculation_values(found)
    except InputError as error:
        raise FormatError(path, str(error)) from error
    return found


def group_of(file: h5py.File, name: str) -> h5py.Group:
    """Return a group that every store has.

    Raises
    ------
    Refused
        If it is not there, or no group.
    """
    found = file.get(name)
    if not isinstance(found, h5py.Group):
        raise Refused(f"no group {name}")
    return found


def _required(path: str | Path, file: h5py.File, which: OperatorName) -> h5py.Group:
    """The group of an operator that must be there."""
    group = stored_operator(file, which)
    if group is None:
        raise FormatError(path, f"expected {which} in the file, got a file without one")
    return group


def operator_basis(path: str | Path, which: OperatorName) -> BasisSet | None:
    """Return the basis of a matrix's elements without loading the matrix.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    which : {"hamiltonian", "overlap", "h0"}
        The matrix.

    Returns
    -------
    BasisSet or None
        None where the file does not hold it.

    Raises
    ------
    FormatError
        If the file is not a store, damaged, or of a newer version.
    """
    with _opened(path) as file:
        group = stored_operator(file, which)
        return None if group is None else _operator_basis(group, _read_atoms(path, file)[1])


def copy_operator(path: str | Path, which: OperatorName, writer: StoreWriter) -> None:
    """Copy a matrix of a store into another one of the same atoms, without holding it in memory.

    Parameters
    ----------
    path : str or pathlib.Path
        The store that holds it.
    which : {"hamiltonian", "overlap", "h0"}
        The matrix.
    writer : StoreWriter
        The store under construction.

    Raises
    ------
    FormatError
        If the file is not a store, damaged, or does not hold this matrix.
    InputError
        If a number is not finite, or the other file cannot be written.
    """
    with _opened(path) as file:
        group = _required(path, file, which)
        if attribute(group, "storage") != STORAGE:
            writer.copy(which, group)
            return
        structure, basis = _read_atoms(path, file)
        writer.write(which, _read_operator(path, group, structure.numbers, basis))


def is_store(path: str | Path) -> bool:
    """Tell whether a file is a store of nearsight.

    Parameters
    ----------
    path : str or pathlib.Path
        Any path.

    Returns
    -------
    bool
        True also for a damaged HDF5 file: reading it then says what is wrong.
    """
    try:
        if not Path(path).is_file():
            return False
        with open(path, "rb") as raw:
            if raw.read(len(_SIGNATURE)) != _SIGNATURE:
                return False
    except (OSError, ValueError):
        return False
    if may_be_read(path) is not None:
        return True
    try:
        with h5py.File(path, "r") as file:
            return "format" in file.attrs and bool(attribute(file, "format") == FORMAT)
    except Exception:  # a damaged file makes h5py raise whatever comes up
        return True


def describe(path: str | Path) -> dict[str, Any]:
    """Return what a store says about itself, without its matrices.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    dict
        The root's attributes (format, version, units, convention, formula, cutoff …), `checksums` (whether the file
        has them), `basis`, `provenance`, and for each matrix its unit, storage, pairs and number type.

    Raises
    ------
    FormatError
        If the file is not a store, damaged, or of a newer version.
    """
    with _opened(path) as file:
        structure, basis = _read_atoms(path, file)
        result = _described(file) | {"formula": structure.formula}
        result["checksums"] = "none: a file of version 1" if result["version"] == 1 else "verified"
        result["basis"] = {"name": basis.name, "shells": basis.describe()}
        result["provenance"] = read_provenance(group_of(file, "provenance"))
        for which in UNIT_OF:
            group = stored_operator(file, which)
            if group is not None:
                result[which] = _described(group)
                if result[which]["storage"] != STORAGE:
                    result[which]["dtype"] = str(checked_dataset(group, "values", "float", (None,)).dtype)
        return result


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    """The file, open and recognised; whatever is met in it becomes a FormatError."""
    if not Path(path).is_file():
        found = "something that is no file" if Path(path).exists() else "no such file"
        raise FormatError(path, f"expected a store (.h5) of nearsight, got {found}")
    if not h5py.is_hdf5(path) and not is_store(path):
        raise FormatError(
            path, "expected a store (.h5) of nearsight, got a file that is not HDF5; make one with `nearsight import`"
        )
    problem = may_be_read(path)
    if problem is not None:
        raise FormatError(
            path, f"expected a complete store, got a damaged or truncated file ({problem}); write or copy it again"
        )
    try:
        with h5py.File(path, "r") as file:
            check_objects(file)
            _check_header(path, file)
            yield file
    except NearsightError:
        raise
    except MemoryError as error:
        raise FormatError(path, f"expected a store that fits into memory, got a larger one ({error})") from error
    except Exception as error:  # a damaged file makes HDF5 and h5py raise whatever comes up
        raise FormatError(
            path, f"expected a complete store, got a damaged or truncated file ({_said(error)}); write or copy it again"
        ) from error


def _said(error: BaseException) -> str:
    lines = (str(error) if isinstance(error, Refused) else str(error).strip("'")).splitlines()
    return lines[0] if lines and isinstance(error, (Refused, OSError, KeyError)) else f"{type(error).__name__}: {error}"


def _check_header(path: str | Path, file: h5py.File) -> None:
    if "format" not in file.attrs or attribute(file, "format") != FORMAT:
        raise FormatError(
            path, "expected a store of nearsight, got an HDF5 file of another program; make one with `nearsight import`"
        )
    version = attribute(file, "version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise Refused(f"the version is {version!r:.40}")
    if version > SHARDED_VERSION:
        raise FormatError(
            path, f"expected a store of version {SHARDED_VERSION} or older, got version {version}; update nearsight"
        )
    check_hash(file, file, tuple(UNIT_OF))


def _operator_basis(group: h5py.Group, basis: BasisSet) -> BasisSet:
    elements = attribute(group, "elements")
    if not isinstance(elements, np.ndarray) or elements.dtype != np.int64:
        raise Refused(f"the attribute elements of {group.name} is no list of elements")
    return basis.restricted(elements.tolist())


def _read_operator(
    path: str | Path, group: h5py.Group, numbers: np.ndarray, basis: BasisSet, rows: np.ndarray | None = None
) -> BlockOperator:
    """The operator, or with `rows` ((N,) bool) only the pairs whose source is marked."""
    try:
        basis = _operator_basis(group, basis)
        sizes = basis.sizes(numbers)
    except InputError as error:
        raise FormatError(path, str(error)) from error
    storage, folded = attribute(group, "storage"), attribute(group, "folded")
    if storage not in ("half", "whole", STORAGE) or not isinstance(folded, bool):
        raise Refused(f"{group.name} is stored as {storage!r:.40}, folded {folded!r:.40}")
    half = storage != "whole"
    if storage == STORAGE:
        stored = _gathered(Path(path), group, numbers, basis, rows)
    else:
        stored = _stored(group, numbers, basis, sizes, half, folded, rows)
    if not half:
        return stored
    return with_transposes(stored, *_needed(stored.source, stored.target, stored.shift, half, rows))


def _stored(
    group: h5py.Group,
    numbers: np.ndarray,
    basis: BasisSet,
    sizes: np.ndarray,
    half: bool,
    folded: bool,
    rows: np.ndarray | None,
) -> BlockOperator:
    """The stored blocks of a group, or with `rows` only those that are needed for them."""
    source, target, shift = _read_pairs(group, len(numbers), half, folded)
    values = checked_dataset(group, "values", "float", (None,))
    offsets = np.concatenate([[0], np.cumsum(sizes[source] * sizes[target])])
    if offsets[-1] != len(values):
        raise Refused(f"{offsets[-1]} numbers in the blocks, {len(values)} stored")
    needed = np.arange(len(source))
    if rows is not None:
        needed = np.union1d(*_needed(source, target, shift, half, rows))
    read = _read_ranges(values, offsets, needed if rows is not None else None)
    check_finite(group.name, read)
    return BlockOperator(numbers, basis, source[needed], target[needed], shift[needed], read, folded)


def _gathered(
    path: Path, group: h5py.Group, numbers: np.ndarray, basis: BasisSet, rows: np.ndarray | None
) -> BlockOperator:
    """The half of a matrix whose blocks are in shards, or with `rows` what is needed for them."""
    shards = read_shards(group.file, len(numbers))
    if rows is None:
        _check_memory(path, group)
    which, sizes = group.name.strip("/"), basis.sizes(numbers)
    parts = []
    for k in range(shards.count) if rows is None else shards.holding(rows):
        with opened_shard(path, shards, int(k)) as shard:
            own = stored_operator(shard, which)
            if own is None:
                raise Refused(f"no {which} in shard {k}")
            parts.append(_stored(own, numbers, basis, sizes, True, False, rows))
            if not (shards.region[parts[-1].source] == k).all():
                raise Refused(f"shard {k} has rows of atoms of other regions")
    return merged(parts) if parts else zeros(numbers, basis, *_NO_PAIRS, folded=False)


_NO_PAIRS = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.int64))
_TIMES = 4
"""Bytes that reading a matrix of shards takes, over those of its half: the parts, their order, and both halves."""


def _check_memory(path: Path, group: h5py.Group) -> None:
    """Refuse a matrix that cannot fit into memory before it is read."""
    needed, free = 8 * _TIMES * int(number(group, "n_values")), free_bytes()
    if needed > free:
        raise FormatError(
            path,
            f"expected {group.name.strip('/')} to fit into memory (about {needed / 1e9:.1f} GB), got "
            f"{free / 1e9:.1f} GB free; take it part by part (nearsight.read_parts), or the density of "
            "states alone (nearsight spectrum --method kpm)",
        )


def _read_pairs(group: h5py.Group, n: int, half: bool, folded: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, target and shift of the stored pairs: of atoms that there are, sorted, each once."""
    source = array(group, "source", "integer", (None,))
    target = array(group, "target", "integer", (len(source),))
    shift = array(group, "shift", "integer", (len(source), 3))
    if not len(source):
        return source, target, shift
    lowest, highest = min(source.min(), target.min()), max(source.max(), target.max())
    if lowest < 0 or highest >= n:
        raise Refused(f"{group.name} has pairs of atoms {lowest} to {highest}, the structure has 0 to {n - 1}")
    if np.abs(shift).max() >= _FARTHEST or (folded and shift.any()):
        raise Refused(f"{group.name} has pairs in cells that cannot be")
    if not is_ascending(source, target, shift, strictly=True):
        raise Refused(f"{group.name} has pairs that are not sorted, or one of them twice")
    if half and not in_half(source, target, shift).all():
        raise Refused(f"{group.name} has pairs beyond the half that it says to hold")
    return source, target, shift


def _write_estimate(writer: StoreWriter, calculation: Calculation) -> None:
    operator, estimate = calculation.hamiltonian, calculation.error_estimate
    if operator is not None and estimate is not None:
        half = is_exactly_hermitian(operator)
        stored = in_half(operator.source, operator.target, operator.shift) if half else slice(None)
        writer.annotate(ERROR_ESTIMATE, estimate[stored].astype(np.float32), "eV", ESTIMATE_MEANING)


def _read_estimate(path: str | Path, file: h5py.File, operator: BlockOperator | None) -> np.ndarray | None:
    """(P,) of the operator's pairs; the file has one number for each stored block."""
    if operator is None:
        return None
    group = file["hamiltonian"]
    half, estimate = attribute(group, "storage") != "whole", np.zeros(operator.n_pairs)
    if attribute(group, "storage") == STORAGE:
        shards = read_shards(file, operator.n_atoms)
        for k in range(shards.count):
            with opened_shard(Path(path), shards, k) as shard:
                if not _put_estimate(shard, operator, half, estimate):
                    return None
        return estimate
    return estimate if _put_estimate(file, operator, half, estimate) else None


def _put_estimate(file: h5py.File, operator: BlockOperator, half: bool, estimate: np.ndarray) -> bool:
    """Put the estimates of a file into their places; return whether it has some."""
    if ERROR_ESTIMATE not in file:
        return False
    pairs = operator.find(*_read_pairs(file["hamiltonian"], operator.n_atoms, half, operator.folded))
    stored = array(file, ERROR_ESTIMATE, "float", (len(pairs),))
    if (stored < 0).any():
        raise Refused(f"{ERROR_ESTIMATE} holds negative numbers")
    if half:
        estimate[operator.reverse[pairs]] = stored
    estimate[pairs] = stored
    return True


def _needed(
    source: np.ndarray, target: np.ndarray, shift: np.ndarray, half: bool, rows: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the stored pairs that are wanted as they are, and of those wanted as their transpose."""
    every = np.ones(len(source), dtype=bool)
    direct = every if rows is None else rows[source]
    if not half:
        return np.flatnonzero(direct), np.zeros(0, dtype=np.int64)
    mirrored = (every if rows is None else rows[target]) & ~is_on_site(source, target, shift)
    return np.flatnonzero(direct), np.flatnonzero(mirrored)


def _read_ranges(dataset: h5py.Dataset, offsets: np.ndarray, pairs: np.ndarray | None) -> np.ndarray:
    """(M,) float64, the numbers of the given pairs (None: all), reading only the chunks that hold some."""
    if pairs is None:
        return dataset.astype(np.float64)[()] if dataset.dtype != np.float64 else dataset[()]
    chunk = dataset.chunks[0] if dataset.chunks else max(1, len(dataset))
    sizes = np.diff(offsets)[pairs]
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    wanted = np.repeat(offsets[pairs], sizes) + within
    touched = np.unique(wanted // chunk)
    buffer = np.empty(len(touched) * chunk, dtype=np.float64)
    for place, at in enumerate(touched):
        chunk_values = dataset[at * chunk : (at + 1) * chunk]
        buffer[place * chunk : place * chunk + len(chunk_values)] = chunk_values
    return buffer[np.searchsorted(touched, wanted // chunk) * chunk + wanted % chunk]


def _described(item: h5py.Group) -> dict[str, Any]:
    """Attributes as plain values, without the hash."""
    found = {key: attribute(item, key) for key in item.attrs if key != HASH}
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in found.items()}
