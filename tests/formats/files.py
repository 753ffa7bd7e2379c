"""The files in tests/data, and small matrices written in CP2K's two forms."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "data"
_UNPACKED = tempfile.TemporaryDirectory(prefix="nearsight-tests-")
MHFO2 = Path(shutil.copytree(DATA / "cp2k_mhfo2", Path(_UNPACKED.name) / "cp2k_mhfo2"))
with zipfile.ZipFile(MHFO2 / "more_forms.zip") as _archive:
    _archive.extractall(MHFO2)
VARIANTS = ("binary_upper", "binary_full", "text_upper", "text_full")
H_NAME, S_NAME = "hfo2-ks-KS_SPIN_1-1_0.csr", "hfo2-s-S_SPIN_1-1_0.csr"
BASIS_EXCERPT = DATA / "BASIS_MOLOPT_excerpt"

Entries = list[tuple[int, int, float]]


def entries_of(matrix: np.ndarray, part: str = "full") -> Entries:
    """Nonzero (row, column, value), from 1, of the whole matrix or of a triangle."""
    kept = {"full": matrix, "upper": np.triu(matrix), "lower": np.tril(matrix)}[part]
    return [(int(i) + 1, int(j) + 1, float(matrix[i, j])) for i, j in np.argwhere(kept != 0)]


def write_text(path: Path, entries: Entries) -> Path:
    """As CP2K does, but with 17 digits in wider columns, so that tests can ask for the same bits."""
    path.write_text("".join(f"{i:8d}{j:8d}{_fortran(v):>26}\n" for i, j, v in entries))
    return path


def write_binary(path: Path, entries: Entries, order: str = "<") -> Path:
    """As CP2K does: Fortran records of 16 bytes with their marks."""
    kind = np.dtype([("h", "i4"), ("i", "i4"), ("j", "i4"), ("v", "f8"), ("t", "i4")]).newbyteorder(order)
    np.array([(16, i, j, v, 16) for i, j, v in entries], dtype=kind).tofile(path)
    return path


def _fortran(value: float) -> str:
    """Three digits in the exponent, as CP2K writes it."""
    mantissa, exponent = f"{value:.16E}".split("E")
    return f"{mantissa}E{exponent[0]}{int(exponent[1:]):03d}"


def symmetric(n: int, seed: int = 0) -> np.ndarray:
    """A random (n, n) symmetric matrix with no zeros and ones on the diagonal."""
    random = np.random.default_rng(seed).uniform(0.1, 1.0, (n, n))
    matrix = random + random.T
    np.fill_diagonal(matrix, 1.0)
    return matrix
