"""Molden files of molecules: atoms, Gaussian functions, and orbitals with their energies, of which H and S follow.

All orbitals are needed, the empty ones too. Functions are spherical ([5D], [7F], [9G]). Programs write the format in
several ways; S of the orbitals is compared with that of the functions, so that another order, sign or normalisation is
noticed, not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.elements import HEAVIEST, number_of, symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import read_text
from nearsight.formats.all_orbitals import matrices_of
from nearsight.formats.fortran_numbers import parse_number
from nearsight.formats.options import ReadOptions
from nearsight.formats.structure_files import check_distances
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.orbitals.conventions import MOLDEN
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

_EXPECTED = "a Molden file"
_HEAD = re.compile(rb"\s*\[molden format\]", re.I)
_TITLE = re.compile(r"^\s*\[([^\]]+)\][ \t]*([^\n]*)$", re.M)
_MOST_FUNCTIONS = 5000
_SAME_OVERLAP = 1e-6
"""Largest difference between S of the orbitals of either spin; texts have some ten digits."""
_UNITS = {"au": BOHR_IN_ANGSTROM, "(au)": BOHR_IN_ANGSTROM, "angs": 1.0, "(angs)": 1.0, "": BOHR_IN_ANGSTROM}
_SPHERICAL = {2: ("5d", "5d7f", "5d10f"), 3: ("5d", "5d7f", "7f"), 4: ("9g",)}
"""l → titles that say that its functions are spherical; without one they are Cartesian."""


@dataclass(eq=False)
class _Orbital:
    energy: float
    occupation: float
    down: bool
    coefficients: dict[int, float]


def recognises(path: Path) -> bool:
    """Tell whether a file begins as one of Molden's."""
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return bool(_HEAD.match(file.read(200)))
    except OSError:
        return False


_LARGEST = 1e12
"""Of exponents and coefficients."""


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    options : ReadOptions
        Not needed.

    Returns
    -------
    Calculation
        H and S, of each spin where there are two; levels and charge.

    Raises
    ------
    FormatError
        If it is damaged, periodic, has Cartesian functions or orbitals were left out, or S of the orbitals is not that
        of the functions.
    """
    text = read_text(path, _EXPECTED, any_encoding=True)
    _check_end(path, text)
    sections = _sections(path, text)
    structure, core = _atoms(path, sections)
    basis = _functions(path, sections, structure, core)
    n = int(basis.offsets(structure.numbers)[-1])
    if n > _MOST_FUNCTIONS:
        raise FormatError(path, f"expected at most {_MOST_FUNCTIONS} functions, got {n}")
    every = _orbitals(path, sections, n)
    spins = [[o for o in every if o.down is down] for down in (False, True)]
    found = [own for own in spins if own]
    if any(len(own) != n for own in found) or not spins[0]:
        counts = " and ".join(str(len(own)) for own in found)
        raise FormatError(
            path, f"expected {n} orbitals, as many as functions, the empty ones too, got {counts or 'none'}"
        )
    if len(found) == 1 and any(abs(o.occupation - 1) < 1e-6 for o in every):
        raise FormatError(
            path, "expected closed shells or both spins, got singly occupied orbitals (ROHF), whose levels are of no H"
        )
    for own in found:
        _check_energies(path, [o.energy for o in own])
    electrons = sum(o.occupation for o in every)
    if abs(electrons - round(electrons)) > 1e-3 or electrons < 0.5:
        raise FormatError(path, f"expected occupations of a whole number of electrons, got {electrons:g}")
    c = np.zeros((len(found), n, n))
    for own, matrix in zip(found, c):
        for k, orbital in enumerate(own):
            matrix[list(orbital.coefficients), k] = list(orbital.coefficients.values())
    levels = np.array([[o.energy for o in own] for own in found])
    h, s = matrices_of(path, c, levels, structure, basis, MOLDEN, same=_SAME_OVERLAP)
    filled = [sum(o.occupation for o in own) for own in found]
    two = len(found) == 2
    return Calculation(
        structure,
        basis,
        None if two else h[0],
        s,
        eigenvalues=None if two else np.sort(levels[0]) * HARTREE_IN_EV,
        charge=float(sum(basis.valence[z] for z in structure.numbers.tolist()) - round(sum(filled))),
        provenance={"format": "Molden", "source": path.name, "basis": basis.name},
        multiplicity=round(abs(filled[0] - filled[1])) + 1 if two else None,
        hamiltonian_up=h[0] if two else None,
        hamiltonian_down=h[1] if two else None,
    )


def _check_end(path: Path, text: str) -> None:
    """Refuse a text that ends within its last number: no end of line, and fewer digits than the line before."""
    before, last = (["", *text.split("\n")])[-2:]
    if last.split() and before.split() and len(last.rstrip()) < len(before.rstrip()):
        raise FormatError(path, f"expected a last line as long as the one before, got {last.strip()!r:.60}; is it cut?")


def _sections(path: Path, text: str) -> dict[str, tuple[str, list[str]]]:
    """Title in small letters → what stands after it in its line, and the lines below."""
    heads = list(_TITLE.finditer(text))
    result: dict[str, tuple[str, list[str]]] = {}
    for head, end in zip(heads, [*(h.start() for h in heads[1:]), len(text)]):
        title = head[1].strip().lower()
        if title in result:
            raise FormatError(path, f"expected one section [{head[1]}], got two; are there two files in one?")
        result[title] = (head[2].strip().lower(), text[head.end() : end].splitlines())
    for title, periodic in (("cell", True), ("atoms", False), ("gto", False), ("mo", False)):
        if (title in result) is periodic:
            raise FormatError(
                path,
                "expected a molecule, got a crystal ([Cell]); import the matrices that the code writes"
                if periodic
                else f"expected a section [{title.upper()}], got {', '.join(f'[{t}]' for t in result) or 'none':.120}",
            )
    return result


def _numbers(path: Path, words: list[str]) -> list[float]:
    try:
        found = [parse_number(word) for word in words]
    except ValueError as error:
        raise FormatError(path, f"expected numbers, got {' '.join(words)!r:.80} ({error})") from error
    return found


def _whole(path: Path, word: str, lowest: int, highest: int) -> int:
    if not re.fullmatch(r"\d{1,9}", word) or not lowest <= int(word) <= highest:
        raise FormatError(path, f"expected a whole number from {lowest} to {highest}, got {word!r:.40}")
    return int(word)


def _atoms(path: Path, sections: dict[str, tuple[str, list[str]]]) -> tuple[Structure, dict[int, int]]:
    """The molecule, and how many electrons are in the cores of its atoms (from 0)."""
    said, lines = sections["atoms"]
    if said not in _UNITS:
        raise FormatError(path, f"expected [Atoms] AU or [Atoms] Angs, got {said!r:.40}")
    rows = [line.split() for line in lines if line.strip()]
    if not rows or any(len(row) != 6 for row in rows):
        raise FormatError(path, "expected atoms as `name number Z x y z`, got others")
    if [row[1] for row in rows] != [str(k) for k in range(1, len(rows) + 1)]:
        raise FormatError(path, "expected atoms counted from 1, got others")
    numbers = np.array([_whole(path, row[2], 1, HEAVIEST) for row in rows], dtype=np.int64)
    positions = np.array([_numbers(path, row[3:]) for row in rows]) * _UNITS[said]
    core = {}
    for line in sections.get("core", ("", []))[1]:
        if line.strip():
            atom, _, count = line.partition(":")
            core[_whole(path, atom.strip(), 1, len(rows)) - 1] = _whole(path, count.strip(), 0, HEAVIEST)
    numbers = np.array(
        [_element(path, row[0], int(z), core.get(k, 0)) for k, (row, z) in enumerate(zip(rows, numbers))]
    )
    structure = Structure(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    check_distances(structure)
    return structure, core


def _element(path: Path, name: str, number: int, core: int) -> int:
    """The atomic number: what is written may be without the electrons of the core, as PySCF writes it."""
    letters = re.match(r"[A-Za-z]*", name)
    named = number_of(letters[0].capitalize()) if letters and letters[0] else None
    if named is None or named == number:
        return number
    if core and named == number + core:
        return named
    raise FormatError(path, f"expected the atomic number of {name}, {named} or {named} less its core, got {number}")


def _check_energies(path: Path, energies: list[float]) -> None:
    """Refuse what programs write in place of energies that they do not have: one number, or 0, 1, 2, …"""
    if len(energies) > 1 and (len(set(energies)) == 1 or energies == [float(k) for k in range(len(energies))]):
        raise FormatError(
            path, f"expected energies of the orbitals, got {energies[0]:g}, {energies[1]:g}, …: no H has them"
        )


def _functions(
    path: Path, sections: dict[str, tuple[str, list[str]]], structure: Structure, core: dict[int, int]
) -> BasisSet:
    lines = iter(sections["gto"][1])
    of_atoms: dict[int, list[GaussianShell]] = {}
    atom: int | None = None
    for line in lines:
        words = line.split()
        if not words:
            atom = None
        elif atom is None:
            atom = _whole(path, words[0], 1, len(structure)) - 1
            if atom in of_atoms:
                raise FormatError(path, f"expected the functions of atom {atom + 1} once, got them twice")
            of_atoms[atom] = []
        else:
            of_atoms[atom] += _shells(path, words, lines)
    if sorted(of_atoms) != list(range(len(structure))):
        raise FormatError(path, f"expected functions of all {len(structure)} atoms, got those of {len(of_atoms)}")
    functions: dict[int, tuple[GaussianShell, ...]] = {}
    valence: dict[int, int] = {}
    for k, z in enumerate(structure.numbers.tolist()):
        own = tuple(of_atoms[k])
        if not own or not _alike(functions.setdefault(z, own), own):
            raise FormatError(path, f"expected one basis for each element, got two for {symbol_of(z)}")
        electrons = z - core.get(k, 0)
        if valence.setdefault(z, electrons) != electrons or electrons < 1:
            raise FormatError(path, f"expected one core for each element, got others for {symbol_of(z)}")
    momenta = {z: tuple(shell.l for shell in own) for z, own in functions.items()}
    for l in range(2, max(max(own) for own in momenta.values()) + 1):
        if not any(title in sections for title in _SPHERICAL.get(l, ())):
            wanted = " or ".join(f"[{title.upper()}]" for title in _SPHERICAL.get(l, ()))
            raise FormatError(
                path,
                f"expected spherical {SHELL_LETTERS[l]} functions, which the file says by {wanted}, got Cartesian ones"
                if wanted
                else f"expected functions up to g, got {SHELL_LETTERS[l]}",
            )
    return BasisSet("of a Molden file", momenta, valence, functions)


def _alike(one: tuple[GaussianShell, ...], other: tuple[GaussianShell, ...]) -> bool:
    return len(one) == len(other) and all(
        a.l == b.l
        and a.exponents.shape == b.exponents.shape
        and np.allclose(a.exponents, b.exponents, rtol=1e-6, atol=0)
        and np.allclose(a.coefficients, b.coefficients, rtol=1e-5, atol=1e-12)
        for a, b in zip(one, other)
    )


def _shells(path: Path, words: list[str], lines: Iterator[str]) -> list[GaussianShell]:
    """One line `s 3 1.0` with the lines of its primitives; `sp` are two shells."""
    kind = words[0].lower()
    momenta = [0, 1] if kind == "sp" else [SHELL_LETTERS.find(kind)] if len(kind) == 1 else [-1]
    if len(words) < 2 or momenta[0] < 0:
        raise FormatError(path, f"expected a shell such as `s 3 1.0`, got {' '.join(words)!r:.60}")
    count = _whole(path, words[1], 1, 1000)
    rows = []
    for _ in range(count):
        row = _numbers(path, next(lines, "").split())
        if len(row) != 1 + len(momenta):
            raise FormatError(path, f"expected {count} primitives of a shell {kind}, got fewer; is it cut off?")
        rows.append(row)
    table = np.array(rows)
    if np.abs(table).max() > _LARGEST:
        raise FormatError(path, f"expected exponents and coefficients up to {_LARGEST:g}, got {np.abs(table).max():g}")
    try:
        return [GaussianShell.of_normalised(l, table[:, 0], table[:, 1 + k]) for k, l in enumerate(momenta)]
    except InputError as error:
        raise FormatError(path, str(error)) from error


def _orbitals(path: Path, sections: dict[str, tuple[str, list[str]]], n: int) -> list[_Orbital]:
    """All orbitals; coefficients that are not written are 0."""
    result: list[_Orbital] = []
    said: dict[str, str] = {}
    for line in sections["mo"][1]:
        key, equal, value = line.partition("=")
        if equal:
            said[key.strip().lower()] = value.strip()
            continue
        words = line.split()
        if not words:
            continue
        if said:
            result.append(_headed(path, said))
            said = {}
        if len(words) != 2 or not result:
            raise FormatError(path, f"expected a number of a function and its coefficient, got {line.strip()!r:.60}")
        place = _whole(path, words[0], 1, n) - 1
        if place in result[-1].coefficients:
            raise FormatError(path, f"expected every function once in orbital {len(result)}, got {place + 1} twice")
        result[-1].coefficients[place] = _numbers(path, words[1:])[0]
    return result


def _headed(path: Path, said: dict[str, str]) -> _Orbital:
    if not {"ene", "occup"} <= set(said):
        raise FormatError(path, f"expected Ene= and Occup= of every orbital, got {', '.join(said):.60}")
    energy, occupation = _numbers(path, [said["ene"], said["occup"]])
    if not -1e-6 <= occupation <= 2 + 1e-6 or abs(energy) > 1e6:
        raise FormatError(
            path, f"expected an occupation from 0 to 2 and an energy in Hartree, got {occupation}, {energy}"
        )
    return _Orbital(energy, occupation, said.get("spin", "alpha").lower() == "beta", {})
