"""Basis sets: which shells of atom-centred functions each element carries, and in which order.

Shipped are CP2K's MOLOPT basis sets of some elements, and def2-SVP, the all-electron basis of the databases of
molecules, for H to Kr.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from nearsight.elements import GHOST, number_of, symbol_of
from nearsight.errors import InputError
from nearsight.orbitals.fitted_overlap import FittedOverlap
from nearsight.orbitals.gaussian_shell import GaussianShell

SHELL_LETTERS = "spdfghi"


@dataclass(frozen=True)
class BasisSet:
    """The shells of every element.

    The orbitals of a matrix run over the atoms in the order of the structure, over an atom's shells in the order given
    here, and over m = −l..l inside a shell (p = y, z, x), which is CP2K's order. Two basis sets with the same shells
    are equal, whatever their names.

    Attributes
    ----------
    name : str
        Such as `SZV-MOLOPT-SR-GTH`.
    shells : mapping of int to tuple of int
        Atomic number → angular momenta l of its shells, such as {8: (0, 1)}. 0 is the ghost.
    valence : mapping of int to int
        Atomic number → number of electrons that the pseudopotential leaves; 0 for the ghost. Elements whose valence is
        not known are absent.
    functions : mapping of int to tuple of GaussianShell
        Atomic number → its radial functions in the order of `shells`, from which S of any structure follows. Elements
        whose functions are not known are absent.
    overlaps : FittedOverlap or None
        What matrices S of the data say of their overlaps, where the functions are not known.

    Raises
    ------
    InputError
        If an element has no shells, an l that is not supported, or functions of other shells.
    """

    name: str
    shells: Mapping[int, tuple[int, ...]]
    valence: Mapping[int, int]
    functions: Mapping[int, tuple[GaussianShell, ...]] = field(default_factory=dict)
    overlaps: FittedOverlap | None = None

    def __post_init__(self) -> None:
        shells = {int(z): tuple(int(l) for l in ls) for z, ls in sorted(self.shells.items())}
        object.__setattr__(self, "shells", MappingProxyType(shells))
        object.__setattr__(self, "valence", MappingProxyType({int(z): int(v) for z, v in self.valence.items()}))
        functions = {int(z): tuple(own) for z, own in self.functions.items() if int(z) in shells}
        object.__setattr__(self, "functions", MappingProxyType(functions))
        for z, own in functions.items():
            if tuple(shell.l for shell in own) != shells[z]:
                raise InputError(
                    f"expected functions of the shells {shells[z]} for {symbol_of(z)}, got l = {[s.l for s in own]}"
                )
        for z, ls in shells.items():
            if not ls or min(ls) < 0 or max(ls) >= len(SHELL_LETTERS):
                raise InputError(f"expected shells l = 0..{len(SHELL_LETTERS) - 1} for {symbol_of(z)}, got {ls}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BasisSet) and dict(self.shells) == dict(other.shells)

    def __hash__(self) -> int:
        return hash(tuple(self.shells.items()))

    def __reduce__(self) -> tuple[object, ...]:
        return BasisSet, (self.name, dict(self.shells), dict(self.valence), dict(self.functions), self.overlaps)

    def n_orbitals(self, number: int) -> int:
        """Return the number of orbitals of one atom.

        Parameters
        ----------
        number : int
            Atomic number.

        Returns
        -------
        int
            Σ (2l + 1) over its shells.

        Raises
        ------
        InputError
            If the element has no basis.
        """
        self.check((number,))
        return sum(2 * l + 1 for l in self.shells[number])

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """Return the number of orbitals of each atom.

        Parameters
        ----------
        numbers : (N,) array of int
            Atomic numbers.

        Returns
        -------
        (N,) array of int64
            Orbitals of each atom.

        Raises
        ------
        InputError
            If an element has no basis.
        """
        self.check(numbers)
        table = np.zeros(int(np.max(numbers)) + 1, dtype=np.int64)
        for z in np.unique(numbers):
            table[z] = self.n_orbitals(int(z))
        return table[np.asarray(numbers)]

    def offsets(self, numbers: np.ndarray) -> np.ndarray:
        """Return where the orbitals of each atom begin in a matrix.

        Parameters
        ----------
        numbers : (N,) array of int
            Atomic numbers in the order of the structure.

        Returns
        -------
        (N+1,) array of int64
            Index of each atom's first orbital; the last entry is the size of the matrix.

        Raises
        ------
        InputError
            If an element has no basis.
        """
        return np.concatenate([[0], np.cumsum(self.sizes(numbers))])

    def shell_offsets(self, number: int) -> tuple[int, ...]:
        """Return where each shell of an element begins inside the atom.

        Parameters
        ----------
        number : int
            Atomic number.

        Returns
        -------
        tuple of int
            Index of each shell's first orbital.
        """
        return tuple(int(o) for o in np.cumsum([0] + [2 * l + 1 for l in self.shells[number]])[:-1])

    def n_electrons(self, numbers: np.ndarray) -> int:
        """Count the valence electrons of a neutral structure; a `Calculation` knows its own.

        Parameters
        ----------
        numbers : (N,) array of int
            Atomic numbers.

        Returns
        -------
        int
            Sum of the valences.

        Raises
        ------
        InputError
            If the valence of an element is not known.
        """
        for z in np.unique(numbers):
            if int(z) not in self.valence:
                raise InputError(
                    f"expected the valence of {symbol_of(int(z))} in basis {self.name}, got none; "
                    "it is the q of the pseudopotential's name, as in GTH-PBE-q12, and Z for all electrons "
                    "(POTENTIAL ALL); give the number of electrons itself (--electrons)"
                )
        return int(sum(self.valence[int(z)] for z in numbers))

    def check(self, numbers: Iterable[int]) -> None:
        """Check that every element has a basis.

        Parameters
        ----------
        numbers : iterable of int
            Atomic numbers.

        Raises
        ------
        InputError
            If one has none; the message names it and what there is.
        """
        missing = sorted({int(z) for z in numbers} - set(self.shells))
        if missing:
            names = ", ".join(symbol_of(z) for z in missing)
            known = ", ".join(symbol_of(z) for z in self.shells) or "none"
            raise InputError(
                f"expected a basis for every element, got none for {names} in {self.name} "
                f"(it has {known}); give the basis file (CP2K: BASIS_MOLOPT) that holds it"
            )

    def restricted(self, numbers: Iterable[int]) -> BasisSet:
        """Return the basis of some elements alone.

        Parameters
        ----------
        numbers : iterable of int
            Atomic numbers to keep; repetitions do not matter.

        Returns
        -------
        BasisSet
            The same shells, valences and functions under the same name.

        Raises
        ------
        InputError
            If an element has no basis.
        """
        keep = {int(z) for z in numbers}
        self.check(keep)
        return BasisSet(
            self.name,
            {z: self.shells[z] for z in keep},
            {z: v for z, v in self.valence.items() if z in keep},
            {z: own for z, own in self.functions.items() if z in keep},
            self.overlaps,
        )

    def with_functions(self, functions: Mapping[int, Sequence[GaussianShell]]) -> BasisSet:
        """Return the basis with its radial functions known.

        Parameters
        ----------
        functions : mapping of int to sequence of GaussianShell
            Atomic number → functions in the order of the shells; those that were known before stay. Elements that the
            basis does not have are left out.

        Raises
        ------
        InputError
            If they are of other shells.
        """
        return replace(self, functions={**{z: tuple(own) for z, own in functions.items()}, **self.functions})

    @property
    def lacking_functions(self) -> tuple[int, ...]:
        """Atomic numbers of elements whose functions are not known."""
        return tuple(z for z in self.shells if z not in self.functions)

    def describe(self) -> str:
        """Return the shells in words, such as `Hf 2s1p1d, O 1s1p`."""
        parts = []
        for z, ls in self.shells.items():
            counts = "".join(f"{ls.count(l)}{SHELL_LETTERS[l]}" for l in sorted(set(ls)))
            parts.append(f"{symbol_of(z)} {counts}")
        return ", ".join(parts)


@cache
def _table() -> dict[str, tuple[dict[int, tuple[int, ...]], dict[int, int]]]:
    """The shipped table (its header names the source): basis → (shells, valence)."""
    table: dict[str, tuple[dict[int, tuple[int, ...]], dict[int, int]]] = {}
    text = files("nearsight.orbitals").joinpath("cp2k_molopt.csv").read_text()
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    for row in csv.DictReader(rows):
        shells, valence = table.setdefault(row["basis"], ({}, {}))
        z = GHOST if row["element"] == "ghost" else number_of(row["element"])
        assert z is not None
        shells[z] = tuple(SHELL_LETTERS.index(letter) for letter in row["shells"])
        valence[z] = int(row["valence"])
    return table


def shipped_names() -> tuple[str, ...]:
    """Return the names of the shipped CP2K basis sets, which `basis_named` knows."""
    return tuple(_table())


def basis_named(name: str) -> BasisSet:
    """Return a shipped CP2K basis set.

    Parameters
    ----------
    name : str
        Such as `SZV-MOLOPT-SR-GTH`, in capitals or not.

    Returns
    -------
    BasisSet
        The shells and valences of all elements that are shipped.

    Raises
    ------
    InputError
        If the name is not shipped.
    """
    known = {shipped.upper(): shipped for shipped in _table()}.get(name.upper())
    if known is None:
        raise InputError(
            f"expected a basis among {', '.join(_table())}, got {name!r}; or give CP2K's basis file that holds it"
        )
    return BasisSet(known, *_table()[known])


DEF2_SVP = "def2-SVP"


@cache
def def2_svp() -> BasisSet:
    """Return the basis def2-SVP of H to Kr, whose valence is all electrons."""
    text = files("nearsight.orbitals").joinpath("def2_svp.csv").read_text()
    shells: dict[int, tuple[int, ...]] = {}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        z = number_of(row["element"])
        assert z is not None
        shells[z] = tuple(SHELL_LETTERS.index(letter) for letter in row["shells"])
    return BasisSet(DEF2_SVP, shells, {z: z for z in shells})
