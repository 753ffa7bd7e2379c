"""Structures of LAMMPS: data files and dumps, whose atoms have types; masses or symbols must say what these are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses

from nearsight.errors import FormatError

_SECTION = re.compile(r"^\s*Atoms\s*(?:#\s*(\S+))?\s*$", re.MULTILINE)
_SAME_MASS = 0.3
"""u; neighbours in the periodic table differ by more, but for a few (Co and Ni), whose masses are known to 0.01."""


def is_lammps(path: Path) -> bool:
    """Tell by its content whether a file is a data file or a dump of LAMMPS."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(4000)
    except OSError:
        return False
    return head.startswith(b"ITEM: TIMESTEP") or (
        re.search(rb"^\s*\d+\s+atoms\s*$", head, re.MULTILINE) is not None and b"xlo xhi" in head
    )


def read_lammps(path: Path) -> Atoms:
    """Read a data file with masses, or a dump with element symbols.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    ase.Atoms
        The atoms.

    Raises
    ------
    FormatError
        If nothing says which elements the types are.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if text.startswith("ITEM: TIMESTEP"):
        return _of_dump(path, text)
    from ase.io import read

    if not re.search(r"^\s*Masses\b", text, re.MULTILINE):
        raise FormatError(
            path,
            "expected the section Masses, which says what the atom types are, got none: type 1 is not hydrogen; "
            "add it, or convert the file to extended xyz with symbols",
        )
    style = _SECTION.search(text)
    atoms = read(path, format="lammps-data", atom_style=style[1] if style and style[1] else "atomic", units="metal")
    assert isinstance(atoms, Atoms)
    _check_masses(path, text, atoms)
    return atoms


def _of_dump(path: Path, text: str) -> Atoms:
    columns = re.search(r"^ITEM: ATOMS (.*)$", text, re.MULTILINE)
    if columns is None or "element" not in columns[1].split():
        raise FormatError(
            path,
            "expected a column `element` in the dump, got atom types alone: type 1 is not hydrogen; write it with "
            "`dump_modify … element`, or convert the file to extended xyz with symbols",
        )
    from ase.io import read

    atoms = read(path, format="lammps-dump-text")
    assert isinstance(atoms, Atoms)
    return atoms


def _check_masses(path: Path, text: str, atoms: Atoms) -> None:
    """ASE takes the element of the nearest mass, whatever it is."""
    section = re.split(r"^\s*Masses\b.*$", text, maxsplit=1, flags=re.MULTILINE)[1]
    masses: dict[int, float] = {}
    for line in section.splitlines():
        words = line.split("#")[0].split()
        if len(words) == 2 and words[0].isdigit():
            masses[int(words[0])] = float(words[1])
        elif words:
            break
    types = atoms.arrays.get("type")
    if types is None:
        raise FormatError(path, "expected the type of every atom, got none")
    for kind, mass in masses.items():
        own = np.unique(atoms.numbers[types == kind])
        if len(own) and (len(own) > 1 or abs(atomic_masses[own[0]] - mass) > _SAME_MASS):
            raise FormatError(
                path,
                f"expected masses of elements, got {mass:g} for the type {kind}, which is none; convert the file to "
                "extended xyz with symbols",
            )
