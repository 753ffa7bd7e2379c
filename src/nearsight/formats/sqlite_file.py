"""SQLite files: their tables, opened for reading only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nearsight.errors import FormatError

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

