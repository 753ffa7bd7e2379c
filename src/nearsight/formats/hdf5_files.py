"""HDF5 files of other programs, opened as stores are: tried in a second process, and checked before they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from nearsight.errors import FormatError, NearsightError
from nearsight.formats.sniffing import HDF5, first_bytes
from nearsight.operators.hdf5_content import Refused, check_objects
from nearsight.operators.hdf5_flat import flat_datasets
from nearsight.operators.hdf5_probe import may_be_read


@contextmanager
def opened(path: Path, expected: str, *, flat: bool = False) -> Iterator[h5py.File]:
    """Open a file, and turn whatever is met in it into an error that names it.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected : str
        What it should be, in words.
    flat : bool, default False
        Whether it is read by `flat_blocks`, which checks while it reads.

    Yields
    ------
    h5py.File
        The file; nothing in it points elsewhere, and nothing is larger than the file says.

    Raises
    ------
    FormatError
        If it is no such file, or damaged.
    """
    first_bytes(path, expected, known=HDF5)
    problem = may_be_read(path, flat=flat)
    if problem is not None:
        raise FormatError(path, f"expected {expected}, got a damaged or truncated file ({problem})")
    try:
        with h5py.File(path, "r") as file:
            if not flat:
                check_objects(file)
            yield file
    except NearsightError:
        raise
    except MemoryError as error:
        raise FormatError(path, f"expected {expected} that fits into memory, got a larger one ({error})") from error
    except Refused as error:
        raise FormatError(path, f"expected {expected}, got one in which {error}") from error
    except Exception as error:  # a damaged file makes HDF5 and h5py raise whatever comes up
        said = " ".join(str(error).strip("'").split())[:300]
        raise FormatError(path, f"expected {expected}, got a damaged file ({type(error).__name__}: {said})") from error


def flat_blocks(path: Path, expected: str) -> Iterator[tuple[str, np.ndarray]]:
    """Read a file with a dataset for each block.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected : str
        What it should be, in words.

    Yields
    ------
    str
        The name of a block.
    array of float
        Its numbers, finite.

    Raises
    ------
    FormatError
        As `opened`.
    """
    with opened(path, expected, flat=True) as file:
        yield from flat_datasets(file)
