"""The store: one HDF5 file for a calculation, self-describing, written all or nothing, read in part.

Layout (attributes of the root say the version, the units and the convention in words):

    structure/      numbers, positions (Å), cell (Å), pbc
    basis/          elements, shells (such as "0 0 1 2"), valence (−1 where unknown)
    hamiltonian/    source, target, shift, values (eV)
    overlap/        source, target, shift, values
    eigenvalues     eV, as the code printed them
    provenance/     plain text by key, as attributes

An operator that is Hermitian to the last bit is stored as half (`storage` = "half": the pairs i < j, and
i = j with R ≥ 0 in lexicographic order); any other is stored whole.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from nearsight.errors import FormatError, InputError
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import adjoint
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import pair_order
from nearsight.structures.structure import Structure

FORMAT = "nearsight calculation"
VERSION = 1
CONVENTION = (
    "H_ij(R) = <i,0|H|j,R>; pair (i, j, R) has the vector r_j + R.cell - r_i; cell vectors are rows; "
    "orbitals run over the atoms, an atom's shells in the basis' order, and m = -l..l of real spherical "
    "harmonics without Condon-Shortley phase (p = y, z, x); blocks are row-major, one after another, sorted "
    "by (i, j, R); folded = summed over periodic images (Gamma). storage 'half' holds i < j, and i = j with "
    "R >= 0; the rest is the transpose"
)
UNITS = "length: angstrom; energy: eV; overlap: 1"
CHUNK = 1 << 15
"""Numbers per HDF5 chunk: the rows of a few atoms, so that reading some atoms' rows touches little else."""
GZIP_LEVEL = 4

Which = Literal["hamiltonian", "overlap"]
Precision = Literal["float32", "float64"]
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def write_calculation(
    path: str | Path, calculation: Calculation, *, precision: Precision = "float64", compression: bool = True
) -> None:
    """Write everything in `calculation` to `path`.

    An old file is replaced only by a complete new one. Matrices are kept in `precision`, all else in float64.

    Raises:
        InputError: an unknown precision, or the file cannot be written (no such folder, disk full).
    """
    if precision not in ("float32", "float64"):
        raise InputError(f"expected precision float32 or float64, got {precision!r}")
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(
            f"expected an existing folder for {target}, got none at {target.parent}; make it first"
        )
    image = _file_image(calculation, np.dtype(precision), compression)
    _replace(target, image)


def read_calculation(path: str | Path, *, hamiltonian: bool = True, overlap: bool = True) -> Calculation:
    """The calculation in `path`; a matrix that is not asked for is not loaded. Matrices come in float64.

    Raises:
        FormatError: not a store, damaged, or of a newer version.
    """
    with _opened(path) as file:
        structure, basis = _read_structure(file["structure"]), _read_basis(file["basis"])
        operators = {
            name: _read_operator(file[name], structure.numbers, basis) if wanted and name in file else None
            for name, wanted in (("hamiltonian", hamiltonian), ("overlap", overlap))
        }
        scalars = {k: float(file.attrs[k]) for k in ("cutoff", "energy", "fermi") if k in file.attrs}
        eigenvalues = file["eigenvalues"][()] if "eigenvalues" in file else None
        provenance = {k: str(v) for k, v in file["provenance"].attrs.items()}
    return Calculation(
        structure,
        basis,
        operators["hamiltonian"],
        operators["overlap"],
        scalars.get("cutoff"),
        scalars.get("energy"),
        scalars.get("fermi"),
        eigenvalues,
        provenance,
    )


def read_blocks(path: str | Path, which: Which, source_atoms: np.ndarray) -> BlockOperator:
    """The rows of some atoms: all pairs (i, j, R) with i in `source_atoms`. Only these blocks are loaded.

    Raises:
        FormatError: not a store, or one without this operator.
        InputError: an atom that the structure does not have.
    """
    with _opened(path) as file:
        numbers, basis = _read_structure(file["structure"]).numbers, _read_basis(file["basis"])
        if which not in file:
            raise FormatError(path, f"expected {which} in the file, got a file without one")
        wanted = np.zeros(len(numbers), dtype=bool)
        atoms = np.asarray(source_atoms, dtype=np.int64)
        if len(atoms) and (atoms.min() < 0 or atoms.max() >= len(numbers)):
            raise InputError(f"expected atoms 0 to {len(numbers) - 1}, got {atoms.min()} to {atoms.max()}")
        wanted[atoms] = True
        return _read_operator(file[which], numbers, basis, wanted)


def is_store(path: str | Path) -> bool:
    """Whether `path` is one of our files. A damaged HDF5 file counts: reading it then says what is wrong."""
    try:
        with open(path, "rb") as raw:
            if raw.read(len(_SIGNATURE)) != _SIGNATURE:
                return False
    except OSError:
        return False
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("format") == FORMAT)
    except OSError:
        return True


def describe(path: str | Path) -> dict[str, Any]:
    """What the file says about itself, without its matrices.

    Returns:
        The root's attributes (format, version, units, convention, formula, cutoff …), `basis`, `provenance`,
        and for each operator its unit, storage, pairs and number type.
    """
    with _opened(path) as file:
        basis = _read_basis(file["basis"])
        result: dict[str, Any] = {key: _plain(value) for key, value in file.attrs.items()}
        result["basis"] = {"name": basis.name, "shells": basis.describe()}
        result["provenance"] = {k: str(v) for k, v in file["provenance"].attrs.items()}
        for name in ("hamiltonian", "overlap"):
            if name in file:
                result[name] = {k: _plain(v) for k, v in file[name].attrs.items()}
                result[name]["dtype"] = str(file[name]["values"].dtype)
        return result


def _file_image(calculation: Calculation, dtype: np.dtype[Any], compression: bool) -> bytes:
    """The file's bytes, built in memory: HDF5 cannot recover from a failed write, plain Python can."""
    with h5py.File("image", "w", driver="core", backing_store=False, block_size=1 << 24) as file:
        _write_attributes(file, calculation)
        _write_structure(file.create_group("structure"), calculation.structure)
        _write_basis(file.create_group("basis"), calculation.basis)
        for name, operator, unit in (
            ("hamiltonian", calculation.hamiltonian, "eV"),
            ("overlap", calculation.overlap, "1"),
        ):
            if operator is not None:
                _write_operator(file.create_group(name), operator, unit, dtype, compression)
        if calculation.eigenvalues is not None:
            file["eigenvalues"] = np.asarray(calculation.eigenvalues, dtype=np.float64)
            file["eigenvalues"].attrs["unit"] = "eV"
        provenance = file.create_group("provenance", track_order=True)
        for key, value in calculation.provenance.items():
            provenance.attrs[key] = str(value)
        file.flush()
        return file.id.get_file_image()  # type: ignore[no-any-return]


def _write_attributes(file: h5py.File, calculation: Calculation) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["version"] = VERSION
    file.attrs["convention"] = CONVENTION
    file.attrs["units"] = UNITS
    file.attrs["formula"] = calculation.structure.formula
    for key in ("cutoff", "energy", "fermi"):
        value = getattr(calculation, key)
        if value is not None:
            file.attrs[key] = float(value)


def _write_structure(group: h5py.Group, structure: Structure) -> None:
    for name in ("numbers", "positions", "cell", "pbc"):
        group[name] = getattr(structure, name)
    group["positions"].attrs["unit"] = group["cell"].attrs["unit"] = "angstrom"


def _write_basis(group: h5py.Group, basis: BasisSet) -> None:
    group.attrs["name"] = basis.name
    group["elements"] = np.array(list(basis.shells), dtype=np.int64)
    group["shells"] = [" ".join(map(str, shells)) for shells in basis.shells.values()]
    group["valence"] = np.array([basis.valence.get(z, -1) for z in basis.shells], dtype=np.int64)


def _write_operator(
    group: h5py.Group, operator: BlockOperator, unit: str, dtype: np.dtype[Any], compression: bool
) -> None:
    half = _is_exactly_hermitian(operator)
    stored = operator.select(_in_half(operator.source, operator.target, operator.shift)) if half else operator
    group.attrs.update(
        {
            "unit": unit,
            "folded": operator.folded,
            "storage": "half" if half else "whole",
            "n_pairs": operator.n_pairs,
            "n_orbitals": operator.n_orbitals,
            "elements": np.array(list(operator.basis.shells), dtype=np.int64),
        }
    )
    filters = {"compression": "gzip", "compression_opts": GZIP_LEVEL, "shuffle": True} if compression else {}
    columns = {
        "source": stored.source.astype(np.int32),
        "target": stored.target.astype(np.int32),
        "shift": stored.shift.astype(np.int32),
        "values": stored.values.astype(dtype, copy=False),
    }
    for name, data in columns.items():
        rows = (max(1, min(CHUNK, len(data))), *data.shape[1:])
        group.create_dataset(
            name, data=data, chunks=rows if len(data) else None, **(filters if len(data) else {})
        )


def _is_exactly_hermitian(operator: BlockOperator) -> bool:
    """To the last bit (0 and −0 differ), so that half a matrix gives back the same numbers."""
    try:
        transposed = adjoint(operator).values
    except InputError:  # a pair without its reverse
        return False
    bits = f"u{operator.values.dtype.itemsize}"
    return bool(np.array_equal(transposed.view(bits), operator.values.view(bits)))


def _in_half(source: np.ndarray, target: np.ndarray, shift: np.ndarray) -> np.ndarray:
    x, y, z = shift.T
    forward = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z >= 0))))
    return (source < target) | ((source == target) & forward)


def _replace(target: Path, image: bytes) -> None:
    """Write beside `target`, then rename: at no moment is there half a file under its name."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise InputError(
            f"expected to write {len(image) / 1e6:.1f} MB to {target}, got: {error.strerror}; nothing was "
            "changed there. Free some space or give another place"
        ) from error
    except BaseException:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    """The file, open and recognised; every failure of HDF5 becomes a FormatError."""
    if not Path(path).is_file():
        raise FormatError(path, "expected a store (.h5) of nearsight, got no such file")
    if not h5py.is_hdf5(path) and not is_store(path):
        raise FormatError(
            path,
            "expected a store (.h5) of nearsight, got a file that is not HDF5; "
            "make one with `nearsight import`",
        )
    try:
        with h5py.File(path, "r") as file:
            _check_header(path, file)
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise FormatError(
            path,
            f"expected a complete store, got a damaged or truncated file ({error}); write or copy it again",
        ) from error


def _check_header(path: str | Path, file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT:
        raise FormatError(
            path,
            "expected a store of nearsight, got an HDF5 file of another program; "
            "make one with `nearsight import`",
        )
    if int(file.attrs["version"]) > VERSION:
        raise FormatError(
            path,
            f"expected a store of version {VERSION} or older, got version "
            f"{int(file.attrs['version'])}; update nearsight",
        )


def _read_structure(group: h5py.Group) -> Structure:
    return Structure(*(group[name][()] for name in ("numbers", "positions", "cell", "pbc")))


def _read_basis(group: h5py.Group) -> BasisSet:
    elements = [int(z) for z in group["elements"]]
    shells = [tuple(int(word) for word in text.split()) for text in group["shells"].asstr()]
    valence = {z: int(v) for z, v in zip(elements, group["valence"], strict=True) if v >= 0}
    return BasisSet(str(group.attrs["name"]), dict(zip(elements, shells, strict=True)), valence)


def _read_operator(
    group: h5py.Group, numbers: np.ndarray, basis: BasisSet, rows: np.ndarray | None = None
) -> BlockOperator:
    """The operator, or with `rows` ((N,) bool) only the pairs whose source is marked."""
    basis = basis.restricted(int(z) for z in group.attrs["elements"])
    source, target, shift = (group[name][()].astype(np.int64) for name in ("source", "target", "shift"))
    shift = shift.reshape(-1, 3)
    sizes = basis.sizes(numbers)
    offsets = np.concatenate([[0], np.cumsum(sizes[source] * sizes[target])])
    if offsets[-1] != len(group["values"]):
        raise KeyError(f"{offsets[-1]} numbers in the blocks, {len(group['values'])} stored")
    half = group.attrs["storage"] == "half"
    direct, mirrored = _needed(source, target, shift, half, rows)
    needed = np.union1d(direct, mirrored) if rows is not None else np.arange(len(source))
    stored = BlockOperator(
        numbers,
        basis,
        source[needed],
        target[needed],
        shift[needed],
        _read_ranges(group["values"], offsets, needed if rows is not None else None),
        bool(group.attrs["folded"]),
    )
    if not half:
        return stored
    return _whole(stored, np.searchsorted(needed, direct), np.searchsorted(needed, mirrored))


def _needed(
    source: np.ndarray, target: np.ndarray, shift: np.ndarray, half: bool, rows: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the stored pairs that are wanted as they are, and of those wanted as their transpose."""
    every = np.ones(len(source), dtype=bool)
    direct = every if rows is None else rows[source]
    if not half:
        return np.flatnonzero(direct), np.zeros(0, dtype=np.int64)
    own_reverse = (source == target) & ~shift.any(axis=1)
    mirrored = (every if rows is None else rows[target]) & ~own_reverse
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
    for place, number in enumerate(touched):
        piece = dataset[number * chunk : (number + 1) * chunk]
        buffer[place * chunk : place * chunk + len(piece)] = piece
    return buffer[np.searchsorted(touched, wanted // chunk) * chunk + wanted % chunk]


def _whole(stored: BlockOperator, direct: np.ndarray, mirrored: np.ndarray) -> BlockOperator:
    """Pairs of a half operator (`direct`) together with the transposes of others (`mirrored`), sorted."""
    source = np.concatenate([stored.source[direct], stored.target[mirrored]])
    target = np.concatenate([stored.target[direct], stored.source[mirrored]])
    shift = np.concatenate([stored.shift[direct], -stored.shift[mirrored]])
    order = pair_order(source, target, shift)
    result = zeros(stored.numbers, stored.basis, source[order], target[order], shift[order], stored.folded)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    result.values[result.flat_index(place[: len(direct)])] = stored.values[stored.flat_index(direct)]
    turned = place[len(direct) :]
    for pairs in stored.element_pairs.values():
        chosen = np.flatnonzero(np.isin(mirrored, pairs, assume_unique=True))
        if len(chosen):
            blocks = stored.stack(mirrored[chosen]).transpose(0, 2, 1)
            result.values[result.flat_index(turned[chosen])] = blocks.reshape(-1)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
