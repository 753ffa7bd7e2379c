"""Shards: a store whose matrices lie in files of their own, one for each region of the structure.

The store itself, the index, holds everything but the blocks: structure, basis, provenance, which shard the rows of each
atom are in, and the SHA-256 of every shard, so that nothing in them changes unseen. A shard holds the half rows of its
atoms, `source, target, shift, values` as a store does, in the numbering of the whole structure. Shards lie beside the
index, in the folder that it names:

    prediction.h5                     the index
    prediction.h5.parts-1f2e3d4c/     000000.h5, 000001.h5, …
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from nearsight.errors import FormatError, NearsightError
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_content import Refused, array, attribute, check_objects
from nearsight.operators.hdf5_probe import may_be_read
from nearsight.operators.store_head import (
    OUT_OF_DISTRIBUTION,
    STRANGE_MEANING,
    UNIT_OF,
    OperatorName,
    check_hash,
    stored_operator,
)
from nearsight.operators.store_writer import Precision, StoreWriter
from nearsight.orbitals.basis import BasisSet

SHARDED_VERSION = 3
"""Version of an index, which programs that know stores alone refuse; everything else is as in version 2."""
SHARD_FORMAT = "nearsight shard"
GROUP = "shards"
STORAGE = "shards"
"""What the attribute `storage` of a matrix in an index says."""
_DIGEST = 32
_MOST_SHARDS = 1_000_000
_PIECE = 1 << 22


@dataclass(frozen=True, eq=False)
class Shards:
    """Where the rows of each atom are.

    Attributes
    ----------
    folder : str
        Name of the shards' folder, beside the index.
    region : (N,) array of int64
        The shard of each atom, 0 … count − 1.
    digests : (count, 32) array of uint8
        SHA-256 of each shard's file.
    reached : (n, 2) array of int64
        (k, m) for each shard k with pairs whose second atom is in the region of shard m.
    """

    folder: str
    region: np.ndarray
    digests: np.ndarray
    reached: np.ndarray

    @property
    def count(self) -> int:
        """Number of shards."""
        return len(self.digests)

    def holding(self, atoms: np.ndarray) -> np.ndarray:
        """Return the shards that hold rows of some atoms ((N,) bool), also as transposes, ascending."""
        own = np.unique(self.region[atoms])
        return np.union1d(own, self.reached[np.isin(self.reached[:, 1], own), 0])


def shard_path(index: Path, folder: str, number: int) -> Path:
    """Return the file of a shard."""
    return index.parent / folder / f"{number:06d}.h5"


def file_digest(path: Path) -> bytes:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


def shard_writer(path: Path, head: Calculation, number: int, of: str, precision: Precision) -> StoreWriter:
    """Return a writer of a shard; matrices are written into it as into a store.

    Parameters
    ----------
    path : Path
        Its file.
    head : Calculation
        The whole structure and its basis, of which the shard holds nothing.
    number : int
        Number of the shard.
    of : str
        What identifies the prediction and its division, for `is_shard`.
    precision : {"float64", "float32"}
        Number type of the matrices.
    """

    def begin(file: h5py.File) -> None:
        file.attrs.update({"format": SHARD_FORMAT, "version": SHARDED_VERSION, "shard": number, "prediction": of})

    return StoreWriter(path, head, precision=precision, compression="none", begin=begin)


def is_shard(path: Path, number: int, of: str) -> bool:
    """Return whether a file is a certain shard of a certain prediction, with all that was written into it.

    Parameters
    ----------
    path : Path
        The file. All of it is read.
    number : int
        Number of the shard.
    of : str
        As of `shard_writer`.
    """
    if not path.is_file() or may_be_read(path) is not None:
        return False
    try:
        with h5py.File(path, "r") as file:
            check_objects(file)
            said = tuple(attribute(file, name) for name in ("format", "shard", "prediction"))
            check_hash(file, file, tuple(UNIT_OF))
            for which in UNIT_OF:
                stored_operator(file, which)
            file.visititems(_read_through)
            return said == (SHARD_FORMAT, number, of)
    except Exception:  # a damaged file makes HDF5 and h5py raise whatever comes up
        return False


def _read_through(name: str, item: h5py.Group | h5py.Dataset) -> None:
    """Read a dataset piece by piece, for HDF5 to check its checksums."""
    if isinstance(item, h5py.Dataset) and item.shape:
        for first in range(0, len(item), _PIECE):
            item[first : first + _PIECE]


@dataclass(frozen=True)
class ShardedMatrix:
    """What an index says of a matrix.

    Attributes
    ----------
    which : {"hamiltonian", "overlap", "h0"}
        The matrix.
    basis : BasisSet
        Orbitals of its elements.
    n_pairs : int
        Blocks, transposes included.
    n_values : int
        Numbers in the shards.
    dtype : str
        Their type.
    """

    which: OperatorName
    basis: BasisSet
    n_pairs: int
    n_values: int
    dtype: str


def write_index(
    path: Path, head: Calculation, shards: Shards, matrices: list[ShardedMatrix], strange: np.ndarray | None
) -> None:
    """Write the index of shards that are complete.

    Parameters
    ----------
    path : Path
        The index; an older file is replaced.
    head : Calculation
        What a store says besides its matrices.
    shards : Shards
        Where the rows are.
    matrices : list of ShardedMatrix
        What the shards hold.
    strange : (n,) array of int or None
        Atoms in environments unlike those of the training data, where that is known.
    """
    n_orbitals = int(head.basis.offsets(head.structure.numbers)[-1])
    with StoreWriter(path, head, version=SHARDED_VERSION) as writer:
        writer.table(
            GROUP,
            {"folder": shards.folder},
            {
                "region": shards.region.astype(np.int32),
                "sha256": shards.digests.astype(np.uint8),
                "reached": shards.reached.astype(np.int32),
            },
        )
        for matrix in matrices:
            attributes = {
                "unit": UNIT_OF[matrix.which],
                "folded": False,
                "storage": STORAGE,
                "n_pairs": matrix.n_pairs,
                "n_orbitals": n_orbitals,
                "n_values": matrix.n_values,
                "dtype": matrix.dtype,
                "elements": np.array(list(matrix.basis.shells), dtype=np.int64),
            }
            writer.table(matrix.which, attributes, {})
        if strange is not None:
            writer.annotate(OUT_OF_DISTRIBUTION, strange, "1", STRANGE_MEANING)


def read_shards(file: h5py.File, n_atoms: int) -> Shards:
    """Read where the rows of an index are.

    Parameters
    ----------
    file : h5py.File
        The open index, whose hash was verified.
    n_atoms : int
        Number of its atoms.

    Raises
    ------
    Refused
        If it does not say so, or names another folder than one beside it.
    """
    group = file.get(GROUP)
    if not isinstance(group, h5py.Group):
        raise Refused(f"no group {GROUP}")
    folder = attribute(group, "folder")
    if not isinstance(folder, str) or Path(folder).name != folder or folder in ("", ".", "..") or "\\" in folder:
        raise Refused(f"the shards' folder is {folder!r:.80}, which is not one beside the file")
    digests = array(group, "sha256", "integer", (None, _DIGEST), largest=_MOST_SHARDS * _DIGEST).astype(np.uint8)
    region = array(group, "region", "integer", (n_atoms,))
    reached = array(group, "reached", "integer", (None, 2))
    for numbers in (region, reached):
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(digests)):
            raise Refused(f"{GROUP} names shards {numbers.min()} to {numbers.max()}, there are {len(digests)}")
    return Shards(folder, region, digests, reached)


def folder_of(path: Path) -> str | None:
    """Return the shards' folder of an index that is there; None for any other file, and where there is none."""
    try:
        if not path.is_file() or may_be_read(path) is not None:
            return None
        with h5py.File(path, "r") as file:
            check_objects(file)
            group = file.get(GROUP)
            return None if group is None else read_shards(file, len(group["region"])).folder
    except Exception:  # whatever it is, it has no shards
        return None


def remove_shards(index: Path, folder: str) -> None:
    """Remove the shards of an index that is no more: the files of their names, and the folder if that was all.

    Parameters
    ----------
    index : Path
        The index.
    folder : str
        What it named.
    """
    if not re.fullmatch(re.escape(index.name) + r"\.parts-[0-9a-f]{8}", folder):
        return
    place = index.parent / folder
    with contextlib.suppress(OSError):
        for file in place.iterdir():
            if re.fullmatch(r"\d{6}\.h5|atoms_\d{6}\.npz|parts\.json", file.name) and file.is_file():
                file.unlink()
        place.rmdir()


_VERIFIED: dict[tuple[str, int, int, int], bytes] = {}


@contextmanager
def opened_shard(index: Path, shards: Shards, number: int) -> Iterator[h5py.File]:
    """Open a shard that is what the index says.

    Parameters
    ----------
    index : Path
        The index.
    shards : Shards
        What it says.
    number : int
        Number of the shard.

    Yields
    ------
    h5py.File
        Open for reading.

    Raises
    ------
    FormatError
        If it is not there, or another file than the one that was written.
    """
    path = shard_path(index, shards.folder, number)
    if not path.is_file():
        raise FormatError(
            index, f"expected the shard {path}, got none; shards lie beside their index, under the name it gave them"
        )
    if _digest_of(path) != shards.digests[number].tobytes():
        raise FormatError(
            path, f"expected the shard that {index} names, got a file with another SHA-256; predict again"
        )
    problem = may_be_read(path)
    if problem is not None:
        raise FormatError(path, f"expected a shard of {index}, got a damaged file ({problem}); predict again")
    try:
        with h5py.File(path, "r") as file:
            check_objects(file)
            if attribute(file, "format") != SHARD_FORMAT or attribute(file, "shard") != number:
                raise Refused("it is no shard, or another one")
            check_hash(file, file, tuple(UNIT_OF))
            yield file
    except NearsightError:
        raise
    except MemoryError as error:
        raise FormatError(path, f"expected a shard that fits into memory, got a larger one ({error})") from error
    except Exception as error:  # a damaged file makes HDF5 and h5py raise whatever comes up
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FormatError(path, f"expected a shard of {index}, got a damaged file ({reason}); predict again") from error


def _digest_of(path: Path) -> bytes:
    """The SHA-256 of a file, computed once as long as it does not change."""
    known = path.stat()
    key = (str(path.resolve()), known.st_ino, known.st_size, known.st_mtime_ns)
    if key not in _VERIFIED:
        if len(_VERIFIED) > 10_000:
            _VERIFIED.clear()
        _VERIFIED[key] = file_digest(path)
    return _VERIFIED[key]
