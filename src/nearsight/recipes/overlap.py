"""S of any structure from PySCF's integrals: no self-consistent field, no CP2K.

With the bond along z, the overlap of two atoms depends on their distance alone. So the block of each pair of elements
is tabulated on a fine grid of distances, interpolated by splines of fifth order, and rotated to the bond's direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import make_interp_spline

from nearsight.elements import GHOST, symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import PYSCF, to_internal_order
from nearsight.orbitals.rotations import bond_frames, orbital_frames, wigner_d
from nearsight.recipes.pyscf_names import checked_name, checked_symbol
from nearsight.recipes.pyscf_system import pyscf_module
from nearsight.structures.graph import Graph, build_graph, pair_order
from nearsight.structures.structure import MINIMUM_DISTANCE, Structure
from nearsight.units import BOHR_IN_ANGSTROM

SMALLEST = 1e-8
"""Blocks at distances beyond which no element is larger are not stored."""
STEP = 0.02
"""Å, between tabulated distances: splines are then exact to 1e-10."""
FARTHEST = 30.0
"""Å, that tables reach at most."""
_AT_ONCE = 20_000
"""Pairs that are rotated together."""


def overlap_of(
    structure: Structure, basis: BasisSet, *, ghost_element: str = "O", smallest: float = SMALLEST
) -> BlockOperator:
    """Compute the overlap matrix S of a structure as a real-space operator, Hermitian to the last bit.

    Parameters
    ----------
    structure : Structure
        The atoms and ghosts.
    basis : BasisSet
        The basis; its name is looked up in PySCF: a MOLOPT basis of CP2K (SZV-MOLOPT-SR-GTH …), def2-SVP and so on;
        or, for elements in different ones, `Hf:NAME, O:NAME`.
    ghost_element : str, optional
        The element whose functions a ghost carries.
    smallest : float, optional
        Blocks at distances beyond which no element of any block is larger are not stored.

    Returns
    -------
    BlockOperator
        S, without unit, with a block for every pair of atoms and cell vector R.

    Raises
    ------
    InputError
        Where PySCF does not have the basis or has it with other shells, or is not installed.
    """
    basis = basis.restricted(structure.numbers)
    atoms = {z: _atom(z, basis, ghost_element) for z in structure.elements}
    tables = {(a, b): _tabulated(atoms[a], atoms[b], smallest) for a in atoms for b in atoms if a <= b}
    graph = build_graph(structure, max(table.range for table in tables.values()))
    result = _empty(structure, basis, graph)
    upper = np.arange(result.n_pairs) <= result.reverse
    for (a, b), pairs in result.element_pairs.items():
        own = result.on_site[pairs]
        if own.any():
            result.put(pairs[own], np.broadcast_to(atoms[a].own, (int(own.sum()), *atoms[a].own.shape)))
        pairs = pairs[~own & (a < b if a != b else upper[pairs])]
        for some in (pairs[k : k + _AT_ONCE] for k in range(0, len(pairs), _AT_ONCE)):
            blocks = _rotated(tables[a, b], basis, (a, b), _vectors(structure, result, some))
            result.put(some, blocks)
            result.put(result.reverse[some], blocks.transpose(0, 2, 1))
    return result


@dataclass(frozen=True, eq=False)
class _Atom:
    """PySCF's system of one atom at the origin, where our functions are in it and with which sign, and its own S."""

    symbol: str
    basis: str
    index: np.ndarray
    sign: np.ndarray
    own: np.ndarray

    def at(self, heights: np.ndarray) -> Any:
        """Return the system of atoms on the z axis (Å), without nuclei."""
        return _system(self.symbol, self.basis, heights)


@dataclass(frozen=True, eq=False)
class _Table:
    """Blocks of two elements, the second above the first along z; `filled` says which elements are not always zero."""

    range: float
    filled: np.ndarray
    spline: Any

    def blocks(self, distance: np.ndarray) -> np.ndarray:
        """Return (P, n_i, n_j) blocks at distances in Å."""
        result = np.zeros((len(distance), *self.filled.shape))
        result[:, self.filled] = self.spline(distance)
        return result


def _system(symbol: str, basis: str, heights: np.ndarray) -> Any:
    """Return PySCF's system of ghosts of one element at heights on the z axis, Å."""
    pyscf = pyscf_module()
    label = f"ghost-{symbol}"
    places = [(label, (0.0, 0.0, float(z) / BOHR_IN_ANGSTROM)) for z in heights]
    system = pyscf.gto.Mole(atom=places, basis=basis, unit="Bohr", verbose=0, cart=False)
    try:
        system.build(dump_input=False, parse_arg=False)
    except (KeyError, RuntimeError, ValueError, AssertionError) as error:  # unknown names end in any of them
        raise InputError(
            f"expected a basis that PySCF has for {symbol}, got {basis!r}: {error}; give a file that holds S"
        ) from error
    return system


def _atom(number: int, basis: BasisSet, ghost_element: str) -> _Atom:
    """Return an element's functions, checked against the shells of the basis."""
    symbol = checked_symbol(ghost_element, "the ghost's element") if number == GHOST else symbol_of(number)
    name = checked_name(pyscf_name(basis, number), "basis")
    system = _system(symbol, name, np.zeros(1))
    shells = tuple(l for b in range(system.nbas) for l in [int(system.bas_angular(b))] * int(system.bas_nctr(b)))
    if shells != basis.shells[number]:
        raise InputError(
            f"expected shells {basis.shells[number]} for {symbol_of(number)} ({basis.describe()}), got "
            f"{shells} in PySCF's {name} of {symbol}; give a file that holds S"
        )
    index, sign = to_internal_order(PYSCF, basis, np.array([number]))
    own = system.intor_symmetric("int1e_ovlp")[np.ix_(index, index)] * np.outer(sign, sign)
    return _Atom(symbol, name, index, sign, own)


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


def _tabulated(first: _Atom, second: _Atom, smallest: float) -> _Table:
    """Tabulate the blocks of two elements up to the distance at which all elements are small."""
    from pyscf import gto

    distance = np.arange(0.5 * MINIMUM_DISTANCE, FARTHEST, STEP)
    blocks = gto.intor_cross("int1e_ovlp", first.at(np.zeros(1)), second.at(distance))
    blocks = blocks.reshape(len(first.index), len(distance), -1).transpose(1, 0, 2)
    blocks = blocks[:, first.index[:, None], second.index] * np.outer(first.sign, second.sign)
    large = np.flatnonzero(np.abs(blocks).max(axis=(1, 2)) > smallest)
    end = min(int(large[-1]) + 2, len(distance)) if len(large) else 2
    filled = np.abs(blocks).max(axis=0) > 1e-14
    inner = slice(0, min(end + 5, len(distance)))
    return _Table(float(distance[end - 1]), filled, make_interp_spline(distance[inner], blocks[inner][:, filled], k=5))


def _empty(structure: Structure, basis: BasisSet, graph: Graph) -> BlockOperator:
    """Return an operator of zeros on site and on all edges."""
    atoms = np.arange(len(structure))
    source, target = np.concatenate([atoms, graph.source]), np.concatenate([atoms, graph.target])
    shift = np.concatenate([np.zeros((len(atoms), 3), dtype=np.int64), graph.shift])
    order = pair_order(source, target, shift)
    return zeros(structure.numbers, basis, source[order], target[order], shift[order], folded=False)


def _vectors(structure: Structure, operator: BlockOperator, pairs: np.ndarray) -> np.ndarray:
    """Return the (P, 3) vectors between the atoms of pairs, Å."""
    i, j = operator.source[pairs], operator.target[pairs]
    vectors: np.ndarray = structure.positions[j] + operator.shift[pairs] @ structure.cell - structure.positions[i]
    return vectors


def _rotated(table: _Table, basis: BasisSet, elements: tuple[int, int], vectors: np.ndarray) -> np.ndarray:
    """Return (P, n_i, n_j) blocks along the given vectors; zero beyond the table's range."""
    distance = np.linalg.norm(vectors, axis=1)
    near = distance <= table.range
    a, b = elements
    frames = wigner_d(bond_frames(vectors[near]), max(*basis.shells[a], *basis.shells[b]))
    left, right = orbital_frames(basis, a, frames), orbital_frames(basis, b, frames)
    result = np.zeros((len(vectors), *table.filled.shape))
    result[near] = left.transpose(0, 2, 1) @ table.blocks(distance[near]) @ right
    return result
