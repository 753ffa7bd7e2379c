"""The choice of a source's basis: the one that the user or the source names, or the shipped one that fits its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nearsight.elements import GHOST, number_of, symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.formats.options import BasisChoice, ReadOptions
from nearsight.orbitals.basis import BasisSet, basis_named, shipped_names
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.structures.structure import Structure


def choose_basis(
    path: Path,
    structure: Structure,
    options: ReadOptions,
    *,
    sizes: np.ndarray | None = None,
    n_orbitals: int | None = None,
) -> BasisSet:
    """Choose the basis of a structure's elements.

    Parameters
    ----------
    path : pathlib.Path
        The source, for messages.
    structure : Structure
        Its elements are what the basis must hold.
    options : ReadOptions
        `basis` and `basis_file` decide where they are given.
    sizes : (N,) array of int, optional
        Orbitals of each atom, where the source says so.
    n_orbitals : int, optional
        Size of the matrix.

    Returns
    -------
    BasisSet
        The basis.

    Raises
    ------
    InputError
        If the basis is not known, or an element has none.
    FormatError
        If no basis is given and none or several of the shipped ones fit, or the given one does not fit.
    """
    if options.basis is not None:
        basis = named_basis(options.basis, options.basis_file, structure.elements)
        _check_sizes(path, structure, basis, sizes)
        return basis
    candidates = (_fitting(name, structure, sizes, n_orbitals) for name in shipped_names())
    fitting = [candidate for candidate in candidates if candidate is not None]
    if len(fitting) == 1:
        return fitting[0]
    size = n_orbitals if n_orbitals is not None else None if sizes is None else int(np.sum(sizes))
    raise FormatError(
        path,
        f"expected to recognise the basis by the matrix ({size} orbitals for {structure.formula}), but "
        f"{'several' if fitting else 'none'} of {', '.join(shipped_names())} fit{'' if fitting else 's'}; "
        "say which it is (option --basis), with the basis file (--basis-file) where it is not one of these",
    )


def named_basis(choice: BasisChoice, basis_file: Path | Sequence[Path] | None, elements: tuple[int, ...]) -> BasisSet:
    """Return the basis of some elements by name.

    Parameters
    ----------
    choice : str or mapping of str to str
        One name, or one for each element symbol; `X` is the ghost, which has oxygen's functions.
    basis_file : pathlib.Path, sequence of pathlib.Path, or None
        CP2K basis files, of which the first that has an element counts; None for the shipped basis sets.
    elements : tuple of int
        Atomic numbers.

    Returns
    -------
    BasisSet
        The basis of these elements alone.

    Raises
    ------
    InputError
        If a name or an element is neither shipped nor in the file.
    """
    if isinstance(choice, str):
        files = (basis_file,) if isinstance(basis_file, Path) else tuple(basis_file or ())
        source = _of_files(files, choice) if files else basis_named(choice)
        return source.restricted(elements)
    names = {_number(symbol): name for symbol, name in choice.items()}
    lacking = [symbol_of(z) for z in elements if z not in names]
    if lacking:
        raise InputError(f"expected a basis for every element, got none for {', '.join(lacking)}")
    parts = {z: named_basis(names[z], basis_file, (z,)) for z in elements}
    whole = joined({z: (part.name, part.shells[z], part.valence.get(z)) for z, part in parts.items()})
    return whole.with_functions({z: part.functions[z] for z, part in parts.items() if z in part.functions})


def _of_files(files: tuple[Path, ...], name: str) -> BasisSet:
    """Every element of any of the files, from the first that has it."""
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    functions: dict[int, tuple[GaussianShell, ...]] = {}
    missing: list[InputError] = []
    for file in files:
        try:
            found = read_basis_file(file, name)
        except FormatError:
            raise
        except InputError as error:
            missing.append(error)
            continue
        for z in found.shells:
            if z not in shells:
                shells[z], functions[z] = found.shells[z], found.functions[z]
                valence |= {z: found.valence[z]} if z in found.valence else {}
    if not shells:
        raise missing[0]
    return BasisSet(name, shells, valence, functions)


GUESSED = "guessed by the number of orbitals"


def said_of(basis: BasisSet, options: ReadOptions) -> str:
    """Return what the provenance says of a basis that `choose_basis` chose: its name, and whether it is a guess."""
    return basis.name if options.basis is not None else f"{basis.name}, {GUESSED}"


def joined(parts: Mapping[int, tuple[str, tuple[int, ...], int | None]]) -> BasisSet:
    """Join the basis sets of single elements into one.

    Parameters
    ----------
    parts : mapping of int to (str, tuple of int, int or None)
        Z → name, shells and valence (None where it is not known).

    Returns
    -------
    BasisSet
        Its name is the common one, or such as `Hf:NAME, O:NAME`.
    """
    names = {name.upper(): name for name, _, _ in parts.values()}
    title = (
        next(iter(names.values()))
        if len(names) == 1
        else ", ".join(f"{symbol_of(z)}:{p[0]}" for z, p in sorted(parts.items()))
    )
    return BasisSet(title, {z: p[1] for z, p in parts.items()}, {z: p[2] for z, p in parts.items() if p[2] is not None})


def _number(symbol: str) -> int:
    number = GHOST if symbol.lower() == "ghost" else number_of(symbol)
    if number is None:
        raise InputError(f"expected element symbols (X for the ghost), got {symbol!r}")
    return number


def _fitting(name: str, structure: Structure, sizes: np.ndarray | None, n_orbitals: int | None) -> BasisSet | None:
    try:
        basis = basis_named(name).restricted(structure.elements)
    except InputError:
        return None
    own = basis.sizes(structure.numbers)
    if sizes is not None and not np.array_equal(own, sizes):
        return None
    return basis if n_orbitals is None or int(own.sum()) == n_orbitals else None


def _check_sizes(path: Path, structure: Structure, basis: BasisSet, sizes: np.ndarray | None) -> None:
    if sizes is None:
        return
    own = basis.sizes(structure.numbers)
    if len(own) != len(sizes):
        raise FormatError(path, f"expected orbital counts of {len(own)} atoms, got {len(sizes)}")
    if not np.array_equal(own, sizes):
        atom = int(np.argmax(own != np.asarray(sizes)))
        raise FormatError(
            path,
            f"expected {int(sizes[atom])} orbitals on atom {atom} "
            f"({symbol_of(int(structure.numbers[atom]))}), got a basis with {own[atom]} "
            f"({basis.describe()}); is it another basis?",
        )
