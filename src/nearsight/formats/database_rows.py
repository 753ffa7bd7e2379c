"""Which rows of a database of many calculations are read, and what is said where one of them is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearsight.errors import FormatError, InputError

Rows = int | slice
"""One row or several by position from 0, as in a Python sequence."""


def chosen(path: Path, rows: Rows, count: int) -> range:
    """Positions of the rows to read.

    Raises:
        FormatError: no such row.
    """
    if isinstance(rows, slice):
        return range(count)[rows]
    if not -count <= rows < count:
        raise FormatError(path, f"expected a row from 0 to {count - 1}, got {rows}")
    position = range(count)[rows]
    return range(position, position + 1)


def only_row(path: Path, row: int | None, count: int) -> int:
    """The one row that is asked for; it need not be said where there is only one.

    Raises:
        FormatError: not said though there are several, or no such row.
    """
    if count == 0:
        raise FormatError(path, "expected at least one row, got an empty database")
    if row is None and count == 1:
        return 0
    if row is None:
        raise FormatError(
            path,
            f"expected one calculation, got {count} rows with one each; choose one from 0 to {count - 1} with --row N",
        )
    return chosen(path, row, count)[0]


@contextmanager
def reading_row(path: Path, row: int) -> Iterator[None]:
    """Errors of what is read name the file and the row."""
    try:
        yield
    except FormatError:
        raise
    except InputError as error:
        raise FormatError(path, f"row {row}: {error}") from error

