"""Names of training data: files, folders of files, patterns, databases and their rows."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nearsight.errors import FormatError
from nearsight.formats import qh9, schnorb
from nearsight.formats.registry import FORMATS, read_any
from nearsight.operators.calculation import Calculation

MOST = 100_000
"""Calculations of one name."""
_DATABASES = ((schnorb.recognises, schnorb.count_rows), (qh9.recognises, qh9.count_rows))
_ROW = re.compile(r"(?P<file>.+)@(?P<row>\d{1,9})")


def data_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of single calculations: what folders, patterns and databases among some names hold.

    Parameters
    ----------
    names : sequence of str
        Files and folders that `read_any` reads; folders with `.h5` files of this project, such as a campaign makes;
        patterns with ``*``, ``?``, ``[…]`` or ``**``; databases, of which all rows are meant; single rows ``file@N``,
        counted from 0. A name of something that is there is no pattern.

    Returns
    -------
    tuple of str
        Each name once, in the order given; several of one name in the order of their numbers.

    Raises
    ------
    FormatError
        A pattern matches nothing, or a name stands for too many.
    """
    found: list[str] = []
    for name in names:
        one = list(_matching(name))
        if len(one) > MOST:
            raise FormatError(name, f"expected at most {MOST:,} calculations of one name, got {len(one):,}")
        found += one
    return tuple(dict.fromkeys(found))


def read_named(name: str) -> Calculation:
    """Read the calculation of a name that `data_names` returned."""
    if not Path(name).exists() and (row := _ROW.fullmatch(name)):
        return read_any(row["file"], row=int(row["row"]))
    return read_any(name)


def _matching(name: str) -> Iterator[str]:
    path = Path(name)
    if not path.exists() and glob.has_magic(name):
        hits = sorted(glob.glob(name, recursive=True), key=_in_numbers)
        if not hits:
            raise FormatError(path, "expected files that this pattern matches, got none")
        for hit in hits:
            yield from _matching(glob.escape(hit) if not Path(hit).exists() else hit)
        return
    if path.is_dir() and not any(known.recognises(path) for known in FORMATS):
        stores = sorted((str(one) for one in path.glob("*.h5")), key=_in_numbers)
        yield from stores or [name]
        return
    count = next((rows(path) for recognises, rows in _DATABASES if path.is_file() and recognises(path)), 1)
    yield from (f"{name}@{row}" for row in range(count)) if count > 1 else (name,)


def _in_numbers(name: str) -> list[tuple[int, str]]:
    """A key that sorts a-2 before a-10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
