"""CP2K's basis files (BASIS_MOLOPT): which shells each element has, in the order of the orbitals.

An entry reads

    Hf  SZV-MOLOPT-SR-GTH SZV-MOLOPT-SR-GTH-q12        element, names
     1                                                 number of sets of exponents
     2 0 2 6 2 1 1                                     n, l from, l to, exponents, then contractions of each l
     ...                                               one line per exponent

The orbitals follow set after set, and l ascending inside a set.
"""

from __future__ import annotations

import re
from pathlib import Path

from nearsight.elements import GHOST, number_of
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import read_text
from nearsight.orbitals.basis import BasisSet

_HIGHEST, _MOST = 9, 100
"""Degree, and numbers of sets and of contractions, beyond those of any basis."""
_CHARGE = re.compile(r"-q(\d+)$", re.IGNORECASE)


def read_basis_file(path: str | Path, name: str) -> BasisSet:
    """Read a basis of every element that the file holds it for; the ghost gets oxygen's shells.

    Parameters
    ----------
    path : str or pathlib.Path
        The basis file.
    name : str
        Name of the basis, in capitals or not. It may end in the charge, such as `-q12`; without it, the entry must be
        the only one of that name.

    Returns
    -------
    BasisSet
        Shells, and valences where a name says them.

    Raises
    ------
    InputError
        If the file does not hold this name.
    FormatError
        If the file is missing, or not a CP2K basis file.
    """
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    held: set[str] = set()
    lines = _lines(Path(path))
    for at, (line, text) in enumerate(lines):
        words = text.split()
        number = number_of(words[0].capitalize()) if words[0].isalpha() else None
        if number is None:
            continue
        held.update(words[1:])
        if name.upper() not in (word.upper() for word in words[1:]):
            continue
        if number in shells:
            raise FormatError(
                path,
                f"expected {name} once for {words[0]}, got it again in line {line}; "
                "give the name with its charge, such as -q12",
            )
        shells[number] = _shells(path, lines, at + 1)
        charges = [int(found[1]) for word in words[1:] if (found := _CHARGE.search(word))]
        if charges:
            valence[number] = charges[0]
    if not shells:
        near = sorted(held)[:20]
        raise InputError(
            f"expected the basis {name!r} in {path}, got a file with {', '.join(near) or 'no basis'}"
            f"{' …' if len(held) > 20 else ''}"
        )
    oxygen = number_of("O")
    if oxygen in shells:
        shells[GHOST], valence[GHOST] = shells[oxygen], 0
    return BasisSet(name, shells, valence)


def _lines(path: Path) -> list[tuple[int, str]]:
    """(line number, text) without comments and empty lines."""
    raw = read_text(path, "a CP2K basis file")
    stripped = ((k, re.split("[#!]", text, maxsplit=1)[0].strip()) for k, text in enumerate(raw.splitlines(), 1))
    return [(k, text) for k, text in stripped if text]


def _shells(path: str | Path, lines: list[tuple[int, str]], at: int) -> tuple[int, ...]:
    """l of every shell of the entry whose number of sets is in `lines[at]`."""
    shells: list[int] = []
    try:
        n_sets, at = int(lines[at][1]), at + 1
        if not 1 <= n_sets <= _MOST:
            raise ValueError(f"{n_sets} sets")
        for _ in range(n_sets):
            _, lowest, highest, n_exponents, *contractions = map(int, lines[at][1].split())
            if not 0 <= lowest <= highest <= _HIGHEST or n_exponents < 1:
                raise ValueError(f"l = {lowest} to {highest}, {n_exponents} exponents")
            if min(contractions, default=0) < 0 or max(contractions, default=0) > _MOST:
                raise ValueError(f"counts {contractions}")
            if len(contractions) != highest - lowest + 1:
                raise ValueError(f"{len(contractions)} counts for l = {lowest} to {highest}")
            for momentum, count in zip(range(lowest, highest + 1), contractions, strict=True):
                shells += [momentum] * count
            at += 1 + n_exponents
    except (ValueError, IndexError) as error:
        where = lines[at][0] if at < len(lines) else "the end"
        raise FormatError(
            path,
            f"expected a set `n lmin lmax exponents counts…` of a CP2K basis in line {where}, "
            f"got {lines[at][1] if at < len(lines) else 'nothing'!r} ({error})",
        ) from error
    return tuple(shells)
