"""Overlaps by way of third atoms, Σ_k S_ik S_kj: how orbitals of a pair of atoms meet on the atoms beside their bond.

Integrals over three centres, ⟨i|V_k|j⟩ with the potential of an atom k, vary like such products, shell of k by shell.
Atoms i that are near to each other are taken together: the atoms k and j, of all images, that they see are mostly the
same, and the sums are products of dense matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nearsight.operators import runs
from nearsight.operators.atom_images import AtomImages, place_blocks
from nearsight.operators.blocks import BlockOperator, ElementPair

LEAST = 1e-6
"""Norm of the blocks of S that are left out: most of what is within the reach of the functions. It does not change when
a structure is turned."""
CLUSTER = 12
"""Atoms i that are taken together."""

Shell = tuple[int, int]
"""An element and the position of one of its shells."""
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Atoms i, atoms j, and the cells of j, (P,), (P,), (P, 3)."""


class ThirdAtoms:
    """Sums of products of overlaps over the third atoms of a structure.

    Parameters
    ----------
    overlap : BlockOperator
        S, complete. Where it is folded to Γ the third atoms are those of all images, and so are the pairs.
    """

    def __init__(self, overlap: BlockOperator) -> None:
        self.overlap = overlap
        norms = _norms(overlap)
        kept = ~overlap.on_site & (norms > LEAST)
        self._between = overlap.select(kept)
        self._starts = np.searchsorted(self._between.source, np.arange(overlap.n_atoms + 1))
        self._groups = _clusters(self._between, self._starts, norms[kept])

    def shells(self) -> list[Shell]:
        """Return the shells of all elements, by element and position."""
        known = sorted(set(self.overlap.numbers.tolist()))
        return [(z, k) for z in known for k in range(len(self.overlap.basis.shells[z]))]

    def blocks(
        self, shells: Sequence[Shell], pairs: Mapping[ElementPair, Pairs]
    ) -> Iterator[tuple[ElementPair, np.ndarray, np.ndarray]]:
        """Yield Σ_k S_ik S_kj over each shell of all atoms k of an element but i and j, for some pairs after others.

        Parameters
        ----------
        shells : sequence of (int, int)
            The element of k, and the position of the shell among its own.
        pairs : mapping of (int, int) to (i, j, cell of j)
            Pairs of atoms by their elements; the cells do not count where S is folded.

        Yields
        ------
        (int, int), (p,) array of int, (p, shells, n_i, n_j) array
            A pair of elements, positions among its pairs, each of which comes once, and their blocks; no unit.
        """
        if self.overlap.folded:
            pairs = {pair: (i, j, np.zeros_like(cell)) for pair, (i, j, cell) in pairs.items()}
        groups = {pair: self._groups[own[0]] for pair, own in pairs.items()}
        for group in range(int(self._groups.max(initial=-1)) + 1):
            chosen = {pair: np.flatnonzero(own == group) for pair, own in groups.items()}
            some = {pair: tuple(x[own] for x in pairs[pair]) for pair, own in chosen.items() if len(own)}
            for pair, blocks in self._sums(shells, some) if some else ():
                yield pair, chosen[pair], blocks

    def _sums(
        self, shells: Sequence[Shell], pairs: Mapping[ElementPair, tuple[np.ndarray, ...]]
    ) -> Iterator[tuple[ElementPair, np.ndarray]]:
        s, between, starts = self.overlap, self._between, self._starts
        i, j, cell = (np.concatenate(parts) for parts in zip(*pairs.values()))
        first, last = AtomImages.of(s, i, np.zeros_like(cell)), AtomImages.of(s, j, cell)
        edges = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in first.atoms])
        third = AtomImages.of(s, between.target[edges], between.shift[edges]).by_shell()
        left = place_blocks(between, starts, first, third)
        right = place_blocks(between, starts, third, last)
        products = [left[:, own] @ right[own] for own in (third.shell(shell) for shell in shells)]
        for pair, (i, j, cell) in pairs.items():
            ni, nj = (s.basis.n_orbitals(z) for z in pair)
            rows = first.orbitals(i, np.zeros_like(cell))[:, None] + np.arange(ni)
            starts_of_rows = (rows * last.size + last.orbitals(j, cell)[:, None]).ravel()
            found = [runs.gather(p.ravel(), starts_of_rows, nj).reshape(len(i), ni, nj) for p in products]
            yield pair, np.stack(found, axis=1) if found else np.zeros((len(i), 0, ni, nj))


def _norms(operator: BlockOperator) -> np.ndarray:
    """(P,) the Frobenius norm of each block."""
    if not operator.n_pairs:
        return np.zeros(0)
    squares = np.add.reduceat(np.square(operator.values, dtype=np.float64), operator.offsets[: operator.n_pairs])
    return np.asarray(np.sqrt(squares))


def _clusters(between: BlockOperator, starts: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """(N,) which cluster each atom is in: an atom, and those that overlap most with it."""
    group, count = np.full(between.n_atoms, -1), 0
    for atom in range(between.n_atoms):
        if group[atom] < 0:
            own = slice(starts[atom], starts[atom + 1])
            near = between.target[own][np.argsort(-norms[own], kind="stable")]
            free = near[(group[near] < 0) & (near != atom)]
            group[free[np.sort(np.unique(free, return_index=True)[1])[: CLUSTER - 1]]] = count
            group[atom], count = count, count + 1
    return group
