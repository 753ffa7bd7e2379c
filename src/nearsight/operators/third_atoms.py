"""Overlaps by way of third atoms, Σ_k S_ik S_kj: how orbitals of a pair of atoms meet on the atoms beside their bond.

Integrals over three centres, ⟨i|V_k|j⟩ with the potential of an atom k, vary like such products, shell of k by shell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from scipy import sparse

from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator, ElementPair

LEAST = 1e-8
"""Largest element of the blocks of S that are left out: half of what is within the reach of the functions."""
MOST_DENSE = 8000
"""Orbitals up to which dense products are the faster ones."""
ROWS = 2048
"""Rows of a product that are held at once."""
CLUSTER = 24
"""Atoms near to each other whose products are dense: the third atoms that they see are mostly the same."""

Shell = tuple[int, int]
"""An element and the position of one of its shells."""
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Atoms i, atoms j, and the cells of j, (P,), (P,), (P, 3)."""
Factor: TypeAlias = np.ndarray | sparse.csr_matrix


class ThirdAtoms:
    """Sums of products of overlaps over the third atoms of a structure.

    Parameters
    ----------
    overlap : BlockOperator
        S, complete. Where it is folded to Γ the third atoms are those of all images, and so are the pairs.
    """

    def __init__(self, overlap: BlockOperator) -> None:
        self.overlap = overlap
        largest = _largest(overlap)
        kept = ~overlap.on_site & (largest > LEAST)
        between = overlap.select(kept)
        cells, which = np.unique(between.shift, axis=0, return_inverse=True)
        parts = [to_csr(between.select(which.reshape(-1) == k)).astype(np.float64) for k in range(len(cells))]
        self._dense = parts[0].toarray() if len(parts) == 1 and overlap.n_orbitals <= MOST_DENSE else None
        self._cells = {tuple(cell.tolist()): k for k, cell in enumerate(cells)}
        self._parts = parts
        self._groups = self._rows() if self._dense is not None else _clusters(between, largest[kept])
        nothing = sparse.csr_matrix((overlap.n_orbitals, overlap.n_orbitals))
        self._stacked = nothing if self._dense is not None else sparse.vstack([*parts, nothing], format="csr")

    def shells(self) -> list[Shell]:
        """Return the shells of all elements, by element and position."""
        known = sorted(set(self.overlap.numbers.tolist()))
        return [(z, k) for z in known for k in range(len(self.overlap.basis.shells[z]))]

    def blocks(self, third: Shell, pairs: Mapping[ElementPair, Pairs]) -> dict[ElementPair, np.ndarray]:
        """Return Σ_k S_ik S_kj over one shell of all atoms k of an element but i and j.

        Parameters
        ----------
        third : (int, int)
            The element of k, and the position of the shell among its own.
        pairs : mapping of (int, int) to (i, j, cell of j)
            Pairs of atoms by their elements; the cells do not count where S is folded.

        Returns
        -------
        dict of (int, int) to (P, n_i, n_j) array
            Their blocks; no unit.
        """
        s, orbitals = self.overlap, self._orbitals(third)
        result = {
            pair: np.zeros((len(own[0]), s.basis.n_orbitals(pair[0]), s.basis.n_orbitals(pair[1])))
            for pair, own in pairs.items()
        }
        if not (len(orbitals) and self._parts):
            return result
        cells = {pair: np.zeros_like(own[2]) if s.folded else own[2] for pair, own in pairs.items()}
        if not cells:
            return result
        first = self._to_third(orbitals)
        groups = {pair: self._groups[own[0]] for pair, own in pairs.items()}
        for cell in np.unique(np.concatenate(list(cells.values())), axis=0):
            here = {pair: np.flatnonzero((own == cell).all(axis=1)) for pair, own in cells.items()}
            second = self._from_third(orbitals, cell)
            for group in np.unique(np.concatenate([groups[pair][own] for pair, own in here.items()])):
                chosen = {pair: own[groups[pair][own] == group] for pair, own in here.items()}
                self._fill(result, pairs, chosen, first, second)
        return result

    def _fill(
        self,
        result: dict[ElementPair, np.ndarray],
        pairs: Mapping[ElementPair, Pairs],
        chosen: Mapping[ElementPair, np.ndarray],
        first: Factor,
        second: Factor,
    ) -> None:
        """The blocks of pairs from some atoms i to atoms j in one cell."""
        s = self.overlap
        rows, columns = (np.unique(np.concatenate([pairs[p][end][own] for p, own in chosen.items()])) for end in (0, 1))
        (left, of_row), (right, of_column) = (self._orbitals_of(some) for some in (rows, columns))
        product = _product(first[left], second, right)
        for pair, own in chosen.items():
            i, j = of_row[pairs[pair][0][own]], of_column[pairs[pair][1][own]]
            i, j = (x[:, None] + np.arange(s.basis.n_orbitals(z)) for x, z in zip((i, j), pair))
            result[pair][own] = product[i[:, :, None], j[:, None, :]]

    def _orbitals_of(self, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The orbitals of some atoms one after another, and (N,) where those of each of them begin."""
        offsets, sizes = self.overlap.orbital_offsets, self.overlap.basis.sizes(self.overlap.numbers)
        start = np.zeros(self.overlap.n_atoms, dtype=np.int64)
        start[atoms] = np.cumsum(sizes[atoms]) - sizes[atoms]
        return np.concatenate([np.arange(offsets[k], offsets[k + 1]) for k in atoms]), start

    def _to_third(self, orbitals: np.ndarray) -> Factor:
        """(n, cells × orbitals of k): S from all orbitals to those of k in every cell."""
        if self._dense is not None:
            return self._dense[:, orbitals]
        return sparse.hstack([part[:, orbitals] for part in self._parts], format="csr")

    def _from_third(self, orbitals: np.ndarray, cell: np.ndarray) -> Factor:
        """(cells × orbitals of k, n): S from those to all orbitals in one cell."""
        if self._dense is not None:
            return self._dense[orbitals]
        between = [tuple((cell - np.array(middle)).tolist()) for middle in self._cells]
        blocks = np.array([self._cells.get(step, len(self._cells)) for step in between])
        return self._stacked[(blocks[:, None] * self.overlap.n_orbitals + orbitals).ravel()]

    def _rows(self) -> np.ndarray:
        """(N,) which part of some `ROWS` orbitals each atom is in."""
        return np.asarray(self.overlap.orbital_offsets[:-1] // ROWS)

    def _orbitals(self, third: Shell) -> np.ndarray:
        z, shell = third
        atoms = np.flatnonzero(self.overlap.numbers == z)
        if not len(atoms):
            return np.zeros(0, dtype=np.int64)
        sizes = [2 * l + 1 for l in self.overlap.basis.shells[z]]
        own = sum(sizes[:shell]) + np.arange(sizes[shell])
        return np.asarray((self.overlap.orbital_offsets[atoms][:, None] + own).ravel())


def _largest(operator: BlockOperator) -> np.ndarray:
    """(P,) the largest magnitude in each block."""
    if not operator.n_pairs:
        return np.zeros(0)
    return np.asarray(np.maximum.reduceat(np.abs(operator.values), operator.offsets[: operator.n_pairs]))


def _product(left: Factor, second: Factor, right: np.ndarray) -> np.ndarray:
    """Rows @ columns; of sparse ones densely what the rows have elements in."""
    if isinstance(left, np.ndarray):
        return np.asarray(left @ second[:, right])
    met = np.unique(left.indices)
    return np.asarray(left[:, met].toarray() @ second[met][:, right].toarray())


def _clusters(between: BlockOperator, largest: np.ndarray) -> np.ndarray:
    """(N,) which cluster each atom is in: an atom, and those that overlap most with it."""
    group = np.full(between.n_atoms, -1)
    starts = np.searchsorted(between.source, np.arange(between.n_atoms + 1))
    for atom in range(between.n_atoms):
        if group[atom] < 0:
            own = slice(starts[atom], starts[atom + 1])
            near = between.target[own][np.argsort(-largest[own], kind="stable")]
            free = near[(group[near] < 0) & (near != atom)]
            group[free[np.sort(np.unique(free, return_index=True)[1])[: CLUSTER - 1]]] = atom
            group[atom] = atom
    return group
