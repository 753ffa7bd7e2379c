"""The radial functions of a basis from PySCF, by the basis' name, so that S of any structure follows."""

from __future__ import annotations

from typing import Any

from nearsight.elements import GHOST, symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.two_centre_overlap import SMALLEST
from nearsight.operators.two_centre_overlap import overlap_of as overlap_of_functions
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.recipes.pyscf_names import checked_name, checked_symbol
from nearsight.recipes.pyscf_system import pyscf_module, quiet, shells_of
from nearsight.structures.structure import Structure


def overlap_of(
    structure: Structure, basis: BasisSet, *, ghost_element: str = "O", smallest: float = SMALLEST
) -> BlockOperator:
    """Compute the overlap matrix S of a structure as a real-space operator, Hermitian to the last bit.

    Parameters
    ----------
    structure : Structure
        The atoms and ghosts.
    basis : BasisSet
        The basis. Functions that it does not hold are PySCF's of its name (see `with_pyscf_functions`).
    ghost_element : str, optional
        The element whose functions a ghost carries, where the basis does not hold them.
    smallest : float, optional
        Blocks at distances beyond which no element of any block is larger are not stored.

    Returns
    -------
    BlockOperator
        S, without unit, with a block for every pair of atoms and cell vector R.

    Raises
    ------
    InputError
        Where functions are not known, and PySCF does not have the basis or has it with other shells, or is not
        installed.
    """
    known = with_pyscf_functions(basis.restricted(structure.numbers), ghost_element)
    return overlap_of_functions(structure, known, smallest=smallest)


def with_pyscf_functions(basis: BasisSet, ghost_element: str = "O") -> BasisSet:
    """Return a basis with all functions; those it does not hold are looked up in PySCF by its name.

    Parameters
    ----------
    basis : BasisSet
        The basis; its name is one that PySCF knows: a MOLOPT basis of CP2K (SZV-MOLOPT-SR-GTH …), def2-SVP and so on;
        or, for elements in different ones, `Hf:NAME, O:NAME`.
    ghost_element : str, optional
        The element whose functions a ghost carries.

    Raises
    ------
    InputError
        Where PySCF does not have the basis or has it with other shells, or is not installed.
    """
    return basis.with_functions({z: _functions(z, basis, ghost_element) for z in basis.lacking_functions})


def _functions(number: int, basis: BasisSet, ghost_element: str) -> tuple[GaussianShell, ...]:
    """Return an element's functions, checked against the shells of the basis."""
    symbol = checked_symbol(ghost_element, "the ghost's element") if number == GHOST else symbol_of(number)
    name = checked_name(pyscf_name(basis, number), "basis")
    system = _system(symbol, name)
    functions = shells_of(system, range(system.nbas))
    shells = tuple(function.l for function in functions)
    if shells != basis.shells[number]:
        raise InputError(
            f"expected shells {basis.shells[number]} for {symbol_of(number)} ({basis.describe()}), got "
            f"{shells} in PySCF's {name} of {symbol}; give a file that holds S"
        )
    return functions


def _system(symbol: str, basis: str) -> Any:
    """Return PySCF's system of one ghost of an element."""
    pyscf = pyscf_module()
    system = pyscf.gto.Mole(atom=[(f"ghost-{symbol}", (0.0, 0.0, 0.0))], basis=basis, verbose=0, cart=False)
    try:
        with quiet():
            system.build(dump_input=False, parse_arg=False)
    except (KeyError, RuntimeError, ValueError, AssertionError) as error:  # unknown names end in any of them
        raise InputError(
            f"expected a basis that PySCF has for {symbol}, got {basis!r}: {error}; give a file that holds S, or "
            "import with the basis file (--basis-file)"
        ) from error
    return system


def pyscf_name(basis: BasisSet, number: int) -> str:
    """Return what PySCF calls an element's basis: gth-szv-molopt-sr for SZV-MOLOPT-SR-GTH, others as they are.

    Parameters
    ----------
    basis : BasisSet
        The basis, with one name or with `Hf:NAME, O:NAME`.
    number : int
        The atomic number of the element.

    Raises
    ------
    InputError
        Where the basis has several names and lacks the element's.
    """
    parts = dict(part.split(":", 1) for part in basis.name.split(", ") if ":" in part)
    if parts and symbol_of(number) not in parts:
        raise InputError(f"expected the basis of {symbol_of(number)} in {basis.name!r}, got none")
    name = parts.get(symbol_of(number), basis.name)
    return f"gth-{name[:-4].lower()}" if name.upper().endswith("-GTH") else name
