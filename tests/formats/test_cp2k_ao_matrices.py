"""CP2K's text of &AO_MATRICES: the first Kohn-Sham matrix, and what is wrong with a damaged one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.cp2k_ao_matrices import read_first_kohn_sham, recognises

N = 5


def text(matrix: np.ndarray, title: str = "KOHN-SHAM MATRIX") -> str:
    """As CP2K 2023.1 writes it: two columns at a time."""
    lines = ["", "", f" {title}", ""]
    for first in range(0, N, 2):
        columns = range(first, min(first + 2, N))
        lines.append(" " * 20 + "".join(f"{c + 1:19d}" for c in columns))
        lines += [
            f"{r + 1:6d}{1:5d}  Hf    3py    " + " ".join(f"{matrix[r, c]:18.12f}" for c in columns) for r in range(N)
        ]
        lines.append("")
    return "\n".join(lines)


def matrices() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, N)), rng.normal(size=(N, N))


def write(folder: Path, content: str) -> Path:
    path = folder / "ao.txt"
    path.write_text(content)
    return path


def test_the_first_of_several(tmp_path):
    first, second = matrices()
    path = write(tmp_path, text(second, "OVERLAP MATRIX") + text(first) + text(second))
    assert recognises(write(tmp_path, text(first) + text(second)))
    np.testing.assert_allclose(read_first_kohn_sham(path, N), first, atol=1e-12)


def test_damage_is_named(tmp_path):
    first, _ = matrices()
    with pytest.raises(FormatError, match="expected 5 columns of the matrix, got 2"):
        read_first_kohn_sham(write(tmp_path, text(first)[:-350]), N)
    with pytest.raises(FormatError, match=r"line 6.*got '1"):
        read_first_kohn_sham(write(tmp_path, text(first).replace("Hf", "Hf x", 1)), N)
    with pytest.raises(FormatError, match="of 4 orbitals"):
        read_first_kohn_sham(write(tmp_path, text(first)), N - 1)
    with pytest.raises(FormatError, match="expected a KOHN-SHAM MATRIX"):
        read_first_kohn_sham(write(tmp_path, "nothing\n"), N)


@pytest.mark.parametrize("word", ["nan", "inf", "-Infinity", "1e999"])
def test_numbers_are_finite(tmp_path, word):
    first, _ = matrices()
    number = f"{first[1, 0]:18.12f}"
    with pytest.raises(FormatError, match="in line 7"):
        read_first_kohn_sham(write(tmp_path, text(first).replace(number, f"{word:>18}", 1)), N)


@pytest.mark.parametrize("row", ["0", "-1", "6"])
def test_rows_are_those_of_the_matrix(tmp_path, row):
    """None is counted from the end."""
    first, _ = matrices()
    with pytest.raises(FormatError, match="in line 6"):
        read_first_kohn_sham(write(tmp_path, text(first).replace("     1    1", f"{row:>6}    1", 1)), N)
