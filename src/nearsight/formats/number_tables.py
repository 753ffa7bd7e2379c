"""Small tables of numbers in text, a row per line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.foreign_files import read_text


def read_table(path: Path, what: str, rows: int | None = None) -> np.ndarray:
    """Read a table.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    what : str
        What it should hold, in words.
    rows : int, optional
        How many rows it must have.

    Returns
    -------
    (rows, columns) array of float64
        At least one row; finite.

    Raises
    ------
    FormatError
        If it is anything else; the message names the line.
    """
    text = read_text(path, what, largest=1 << 28)
    lines = [(k, line.split()) for k, line in enumerate(text.splitlines(), 1) if line.strip()]
    width = len(lines[0][1]) if lines else 0
    for k, parts in lines:
        if len(parts) != width:
            raise FormatError(path, f"expected {width} numbers in line {k}, got {len(parts)}")
    if not lines or (rows is not None and len(lines) != rows):
        raise FormatError(path, f"expected {what} in {rows or 'some'} lines, got {len(lines)}")
    try:
        numbers = np.array([[float(part) for part in parts] for _, parts in lines])
    except ValueError as error:
        raise FormatError(path, f"expected {what}, got another text ({error})") from error
    if not np.isfinite(numbers).all():
        raise FormatError(path, f"expected {what}, got numbers that are NaN or infinite")
    return numbers
