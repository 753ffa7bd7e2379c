"""Hamiltonians of sisl, the toolbox around SIESTA and TBtrans, from and to calculations.

sisl is not a dependency: whoever has its objects has it installed. Orbitals keep their order and signs, so matrices
that come from SIESTA are right for everything that only needs H and S, such as transport, and are not rotated.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from scipy import sparse

from nearsight.elements import GHOST
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, on_common_pairs, zeros
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure


def from_sisl(hamiltonian: Any, fermi: float | None = 0.0) -> Calculation:
    """Make a calculation of a sisl Hamiltonian.

    Parameters
    ----------
    hamiltonian : sisl.Hamiltonian
        Without spin, in eV, of any supercell. sisl shifts what it reads from SIESTA so that the Fermi level is 0.
    fermi : float, optional
        Fermi level, eV.

    Returns
    -------
    Calculation
        H and S in real space. Atoms with the same atomic number must have the same orbitals. Where sisl does not know
        their angular momenta, an atom's n orbitals count as n functions s.

    Raises
    ------
    InputError
        If it has spin, or atoms of one element have different numbers of orbitals.
    """
    if hamiltonian.spin.is_unpolarized is False:
        raise InputError(f"expected a Hamiltonian without spin, got {hamiltonian.spin}")
    geometry = hamiltonian.geometry
    numbers = np.array([max(int(z), GHOST) for z in geometry.atoms.Z])
    counts = np.diff(geometry.firsto)
    shells: dict[int, tuple[int, ...]] = {}
    for number, count, atom in zip(numbers, counts, geometry.atoms):
        own = _shells(atom, int(count))
        if shells.setdefault(int(number), own) != own:
            raise InputError(
                f"expected the same orbitals on all atoms of element {number}, got {shells[number]} and {own}"
            )
    basis = BasisSet("sisl", shells, {})
    structure = Structure(numbers, geometry.xyz, geometry.cell, np.asarray(geometry.pbc))
    cells = np.asarray(geometry.lattice.sc_off, dtype=np.int64)
    h = _operator(hamiltonian.tocsr(0), cells, structure.numbers, basis)
    if hamiltonian.orthogonal:
        n = h.n_orbitals
        unit = sparse.lil_matrix((n, n * len(cells)))
        home = int(np.flatnonzero(~cells.any(axis=1))[0])
        unit[np.arange(n), np.arange(n) + home * n] = 1.0
        s = _operator(sparse.csr_matrix(unit), cells, structure.numbers, basis)
    else:
        s = _operator(hamiltonian.tocsr(hamiltonian.S_idx), cells, structure.numbers, basis)
    h, s = on_common_pairs(h, s)
    return Calculation(structure, basis, h, s, fermi=fermi, provenance={"source": "sisl"})


def to_sisl(calculation: Calculation) -> Any:
    """Make a sisl Hamiltonian of a calculation, which sisl can write for TBtrans and others.

    Parameters
    ----------
    calculation : Calculation
        H and S in real space.

    Returns
    -------
    sisl.Hamiltonian
        In eV, with a supercell as wide as the blocks reach. Write it with ``.write("device.TBT.nc")``.

    Raises
    ------
    InputError
        If sisl is not installed, a matrix is missing or folded to Γ.
    """
    try:
        sisl: Any = import_module("sisl")
    except ImportError:
        raise InputError("expected the package sisl, got none: pip install sisl") from None
    h, s = on_common_pairs(calculation.require_hamiltonian(), calculation.require_overlap())
    if h.folded or s.folded:
        raise InputError("expected H and S in real space for sisl, got matrices that are summed at Γ")
    structure = calculation.structure
    reach = np.abs(h.shift).max(axis=0, initial=0)
    lattice = sisl.Lattice(structure.cell, nsc=(2 * reach + 1).tolist())
    kinds = {z: sisl.Atom(int(z), R=[1.0] * calculation.basis.n_orbitals(z)) for z in structure.elements}
    geometry = sisl.Geometry(structure.positions, [kinds[int(z)] for z in structure.numbers], lattice)
    cells = {tuple(int(x) for x in c): n for n, c in enumerate(geometry.lattice.sc_off)}
    which = np.array([cells[tuple(r)] for r in h.shift.tolist()], dtype=np.int64)
    first, n = h.orbital_offsets, h.n_orbitals
    rows, columns = [], []
    for pair, (i, j) in enumerate(zip(h.source, h.target)):
        a, b = np.meshgrid(np.arange(first[i], first[i + 1]), np.arange(first[j], first[j + 1]), indexing="ij")
        rows.append(a.ravel())
        columns.append(b.ravel() + n * which[pair])
    index = np.concatenate(rows), np.concatenate(columns)
    shape = (n, n * len(cells))
    return sisl.Hamiltonian.fromsp(
        geometry, sparse.csr_matrix((h.values, index), shape), S=sparse.csr_matrix((s.values, index), shape)
    )


def _shells(atom: Any, count: int) -> tuple[int, ...]:
    """Angular momenta of an atom's shells where sisl knows them for whole shells, else s for each orbital."""
    momenta = [getattr(orbital, "l", None) for orbital in atom]
    shells: list[int] = []
    n = 0
    while n < len(momenta):
        l = momenta[n]
        if l is None or momenta[n : n + 2 * l + 1] != [l] * (2 * l + 1):
            return (0,) * count
        shells.append(int(l))
        n += 2 * l + 1
    return tuple(shells)


def _operator(matrix: sparse.csr_matrix, cells: np.ndarray, numbers: np.ndarray, basis: BasisSet) -> BlockOperator:
    """Blocks of a matrix whose columns run over the orbitals of one cell after another."""
    offsets = basis.offsets(numbers)
    n = int(offsets[-1])
    coo = matrix.tocoo()
    atom = np.repeat(np.arange(len(numbers)), np.diff(offsets))
    cell, column = np.divmod(coo.col, n)
    i, j, r = atom[coo.row], atom[column], cells[cell]
    pairs, which = np.unique(np.column_stack([i, j, r]), axis=0, return_inverse=True)
    result = zeros(numbers, basis, pairs[:, 0], pairs[:, 1], pairs[:, 2:], False)
    width = np.diff(offsets)
    flat = result.offsets[which.ravel()] + (coo.row - offsets[i]) * width[j] + (column - offsets[j])
    values = np.zeros(result.n_values)
    np.add.at(values, flat, coo.data.real)
    return result.with_values(values)
