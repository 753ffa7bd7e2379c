"""HDF5 files that are there completely or not at all, also where the disk is full.

HDF5 cannot recover from a failed write: closing such a file fails again, in its own words and addresses. So it writes
into a `Replacement`, which keeps the first failure and drops what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from nearsight.atomic_files import Replacement


@contextmanager
def hdf5_written_atomically(path: str | Path) -> Iterator[h5py.File]:
    """Give an open file that takes the place of `path` at the end of the `with` block.

    Parameters
    ----------
    path : str or pathlib.Path
        The file to write. Its folder must exist.

    Yields
    ------
    h5py.File
        Empty, open for writing.

    Raises
    ------
    InputError
        If the file cannot be written; what was at `path` stays.
    """
    replacement = Replacement(Path(path))
    try:
        with h5py.File(replacement, "w") as file:
            yield file
        replacement.commit()
    finally:
        replacement.discard()
