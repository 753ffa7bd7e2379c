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

import numpy as np

from nearsight.elements import GHOST, number_of
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import read_text
from nearsight.formats.fortran_numbers import parse_number
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_shell import GaussianShell

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
        Shells and functions, and valences where a name says them.

    Raises
    ------
    InputError
        If the file does not hold this name.
    FormatError
        If the file is missing, or not a CP2K basis file.
    """
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    functions: dict[int, tuple[GaussianShell, ...]] = {}
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
        functions[number] = _functions(path, lines, at + 1)
        shells[number] = tuple(shell.l for shell in functions[number])
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
        shells[GHOST], valence[GHOST], functions[GHOST] = shells[oxygen], 0, functions[oxygen]
    return BasisSet(name, shells, valence, functions)


def _lines(path: Path) -> list[tuple[int, str]]:
    """(line number, text) without comments and empty lines."""
    raw = read_text(path, "a CP2K basis file")
    stripped = ((k, re.split("[#!]", text, maxsplit=1)[0].strip()) for k, text in enumerate(raw.splitlines(), 1))
    return [(k, text) for k, text in stripped if text]


def _functions(path: str | Path, lines: list[tuple[int, str]], at: int) -> tuple[GaussianShell, ...]:
    """Every shell of the entry whose number of sets is in `lines[at]`."""
    shells: list[GaussianShell] = []
    try:
        n_sets, at = int(lines[at][1]), at + 1
        if not 1 <= n_sets <= _MOST:
            raise ValueError(f"{n_sets} sets")
        for _ in range(n_sets):
            momenta, n_exponents = _set(lines[at][1])
            rows = [[parse_number(word) for word in text.split()] for _, text in lines[at + 1 : at + 1 + n_exponents]]
            if len(rows) < n_exponents or any(len(row) != 1 + len(momenta) for row in rows):
                raise ValueError(f"expected {n_exponents} lines of an exponent and {len(momenta)} coefficients")
            table = np.array(rows)
            shells += [GaussianShell.of_normalised(l, table[:, 0], table[:, k]) for k, l in enumerate(momenta, 1)]
            at += 1 + n_exponents
    except (ValueError, IndexError, InputError) as error:
        where = lines[at][0] if at < len(lines) else "the end"
        raise FormatError(
            path,
            f"expected a set `n lmin lmax exponents counts…` of a CP2K basis, and its numbers, in line {where}, "
            f"got {lines[at][1] if at < len(lines) else 'nothing'!r} ({error})",
        ) from error
    return tuple(shells)


def _set(text: str) -> tuple[list[int], int]:
    """l of each contraction of a set, and the number of its exponents, from its first line."""
    _, lowest, highest, n_exponents, *contractions = map(int, text.split())
    if not 0 <= lowest <= highest <= _HIGHEST or not 1 <= n_exponents <= _MOST:
        raise ValueError(f"l = {lowest} to {highest}, {n_exponents} exponents")
    if min(contractions, default=0) < 0 or max(contractions, default=0) > _MOST:
        raise ValueError(f"counts {contractions}")
    if len(contractions) != highest - lowest + 1:
        raise ValueError(f"{len(contractions)} counts for l = {lowest} to {highest}")
    return [
        l for l, count in zip(range(lowest, highest + 1), contractions, strict=True) for _ in range(count)
    ], n_exponents
