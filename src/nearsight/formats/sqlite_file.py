"""SQLite files: their tables, opened for reading only.

Also which rows of a database of many calculations are read, and what is said where one of them is damaged.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from nearsight.errors import FormatError, InputError

_LONGEST_QUERIES = 600.0
"""Seconds that all queries of one opening of a database may take."""
_LONGEST_VALUE = 1 << 30
_MAGIC = b"SQLite format 3\0"


def columns(path: Path, table: str) -> tuple[str, ...]:
    """Return the names of a table's columns.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    table : str
        Name of the table.

    Returns
    -------
    tuple of str
        Empty where the file is not SQLite or has no such table.

    Raises
    ------
    FormatError
        If SQLite cannot read the database.
    """
    if not path.is_file():
        return ()
    with path.open("rb") as raw:
        if raw.read(len(_MAGIC)) != _MAGIC:
            return ()
    with opened(path) as connection:
        found = connection.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (table,)).fetchall()
    return tuple(str(name) for name, hidden in found if not hidden)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading, within a `with` block.

    Raises
    ------
    FormatError
        If SQLite cannot read it.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            _check_schema(path, connection)
            yield connection
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise FormatError(
            path, f"expected an SQLite database, got one that cannot be read ({error}); was the file cut off?"
        ) from error


def _check_schema(path: Path, connection: sqlite3.Connection) -> None:
    """Check that a database holds tables of values alone, and let no query run for ever.

    A view or a computed column runs whatever query its author wrote, without end or filling the memory.
    """
    started = time.monotonic()
    connection.set_progress_handler(lambda: time.monotonic() - started > _LONGEST_QUERIES, 100_000)
    connection.execute("PRAGMA trusted_schema = OFF")
    if hasattr(connection, "setlimit"):  # since Python 3.11
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT 1000").fetchall():
        words = " ".join(str(sql).upper().split())
        if (
            kind not in ("table", "index")
            or words.startswith("CREATE VIRTUAL")
            or (kind == "table" and " AS (" in words)
        ):
            raise FormatError(path, f"expected tables of values in the database, got the {kind} {name!r:.80}")


def row_ids(connection: sqlite3.Connection, table: str) -> list[int]:
    """Return SQLite's numbers of all rows of a table, ascending."""
    return [row for (row,) in connection.execute(f'SELECT rowid FROM "{table}" ORDER BY rowid')]


Rows = int | slice
"""One row or several by position from 0, as in a Python sequence."""


def chosen(path: Path, rows: Rows, count: int) -> range:
    """Return the positions of the rows to read.

    Parameters
    ----------
    path : pathlib.Path
        The database, for messages.
    rows : int or slice
        One row or several.
    count : int
        Number of rows.

    Returns
    -------
    range
        Positions from 0.

    Raises
    ------
    FormatError
        If there is no such row.
    """
    if isinstance(rows, slice):
        return range(count)[rows]
    if not -count <= rows < count:
        raise FormatError(path, f"expected a row from 0 to {count - 1}, got {rows}")
    position = range(count)[rows]
    return range(position, position + 1)


def only_row(path: Path, row: int | None, count: int) -> int:
    """Return the one row that is asked for; it need not be said where there is only one.

    Parameters
    ----------
    path : pathlib.Path
        The database, for messages.
    row : int or None
        The row by position from 0.
    count : int
        Number of rows.

    Returns
    -------
    int
        Position from 0.

    Raises
    ------
    FormatError
        If it is not said though there are several, or there is no such row.
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
    """Name the file and the row in errors of what is read within the `with` block.

    Raises
    ------
    FormatError
        For every InputError of the block, and for whatever values of other types lead to.
    """
    try:
        yield
    except FormatError:
        raise
    except InputError as error:
        raise FormatError(path, f"row {row}: {error}") from error
    except sqlite3.Error:
        raise
    except Exception as error:  # values of other types than a row should have
        raise FormatError(
            path,
            f"row {row}: expected a calculation, got values that are none ({type(error).__name__}: {error!s:.200})",
        ) from error
