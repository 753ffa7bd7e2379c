"""CP2K's `&AO_MATRICES` text: the first Kohn-Sham matrix in it, which is H₀ where the run began from atoms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError

TITLE = "KOHN-SHAM MATRIX"


def recognises(path: Path) -> bool:
    """Tell whether a file begins like such a text."""
    if not path.is_file():
        return False
    with path.open("rb") as raw:
        return TITLE.encode() in raw.read(400)


def read_first_kohn_sham(path: Path, n_orbitals: int) -> np.ndarray:
    """Read the first Kohn-Sham matrix of a file.

    Parameters
    ----------
    path : pathlib.Path
        The text.
    n_orbitals : int
        Size of the matrix.

    Returns
    -------
    (n, n) array of float64
        E_h.

    Raises
    ------
    FormatError
        If there is no such matrix, it has another size, a line does not belong to it, or the file is truncated.
    """
    matrix = np.full((n_orbitals, n_orbitals), np.nan)
    columns: list[int] = []
    for number, line in _first(path):
        words = line.split()
        if not words:
            continue
        try:
            if all(word.isdigit() for word in words):
                columns = [_place(word, n_orbitals) for word in words]
            else:
                matrix[_place(words[0], n_orbitals), columns] = [_finite(word) for word in words[4:]]
        except ValueError as error:
            raise FormatError(
                path,
                f"expected `row atom element orbital values` of {n_orbitals} orbitals in line "
                f"{number}, got {line.strip()[:60]!r}",
            ) from error
    missing = int(np.isnan(matrix).any(axis=0).sum())
    if missing:
        raise FormatError(
            path,
            f"expected {n_orbitals} columns of the matrix, got {n_orbitals - missing}; is the "
            "file complete, and of this structure and basis?",
        )
    return matrix


def _place(word: str, n_orbitals: int) -> int:
    number = int(word)
    if not 1 <= number <= n_orbitals:
        raise ValueError(f"no orbital {number}")
    return number - 1


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"{word} is not finite")
    return number


def _first(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines between the first title and the next one."""
    found = False
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip().endswith("MATRIX"):
                if found:
                    return
                found = TITLE in line
            elif found:
                yield number, line
    if not found:
        raise FormatError(path, f"expected a {TITLE} of &AO_MATRICES, got none")
