"""Runs of numbers in a flat array, read and written many at once without an index for every number."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

AT_ONCE = 1 << 20
"""Numbers copied at once."""


def gather(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Copy runs of one length.

    Parameters
    ----------
    values : (M,) array
        Where they lie.
    starts : (n,) array of int
        Their first positions.
    length : int
        Their length.

    Returns
    -------
    (n, length) array
        The runs.
    """
    if len(starts) == 0 or length == 0:
        return np.empty((len(starts), length), dtype=values.dtype)
    return _windows(values, starts, length)[starts]  # type: ignore[no-any-return]


def scatter(values: np.ndarray, starts: np.ndarray, runs: np.ndarray) -> None:
    """Write runs of one length.

    Parameters
    ----------
    values : (M,) array
        Where they go.
    starts : (n,) array of int
        Their first positions; runs may not overlap.
    runs : (n, length) array
        The numbers.
    """
    if runs.size:
        _windows(values, starts, runs.shape[1])[starts] = runs


def copy(
    values: np.ndarray, starts: np.ndarray, into: np.ndarray, places: np.ndarray, lengths: np.ndarray, add: bool = False
) -> None:
    """Copy runs of different lengths from one array to another.

    Parameters
    ----------
    values : (M,) array
        Where they lie.
    starts : (n,) array of int
        Their first positions.
    into : array
        Where they go.
    places : (n,) array of int
        Their first positions there.
    lengths : (n,) array of int
        Their lengths.
    add : bool, default False
        Whether they are added to what is there.
    """
    for length in np.flatnonzero(np.bincount(lengths)):
        rows, step = np.flatnonzero(lengths == length), max(1, AT_ONCE // max(int(length), 1))
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            moved = gather(values, starts[some], int(length))
            if add:
                moved += gather(into, places[some], int(length))
            scatter(into, places[some], moved)


def _windows(values: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """All runs of one length, as a view."""
    count = len(values) - length + 1
    if int(starts.min()) < 0 or int(starts.max()) >= count:
        raise IndexError(f"expected runs of {length} within {len(values)} numbers")
    return as_strided(values, (count, length), (values.strides[0], values.strides[0]))
