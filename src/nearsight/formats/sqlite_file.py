"""SQLite files: their tables, opened for reading only.

Which rows of a database of many calculations are read, and what is said where one of them is damaged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nearsight.errors import FormatError, InputError

_MAGIC = b"SQLite format 3\0"


def columns(path: Path, table: str) -> tuple[str, ...]:
    """Names of a table's columns; none where the file is not SQLite or has no such table.

    Raises:
        FormatError: an SQLite database that cannot be read.
    """
    if not path.is_file():
        return ()
    with path.open("rb") as raw:
        if raw.read(len(_MAGIC)) != _MAGIC:
            return ()
    with opened(path) as connection:
        found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
    return tuple(name for (name,) in found)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database for reading.

    Raises:
        FormatError: SQLite cannot read it.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise FormatError(
            path, f"expected an SQLite database, got one that cannot be read ({error}); was the file cut off?"
        ) from error


def row_ids(connection: sqlite3.Connection, table: str) -> list[int]:
    """SQLite's numbers of all rows, ascending."""
    return [row for (row,) in connection.execute(f'SELECT rowid FROM "{table}" ORDER BY rowid')]


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
