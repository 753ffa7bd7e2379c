"""Two-centre integrals: what they must look like. ⟨l m|S|s⟩ is a function of the distance times Y_lm of the direction.

An overlap with an s function of another atom is axially symmetric about the bond, so the 2l + 1 numbers of a shell are
parallel to Y_l(r̂), exactly. Any other order of the shell's functions or sign of one of them breaks this (but for the
sign of the whole shell, which means nothing). H is a two-centre integral only nearly, yet nearly enough to tell orders
apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.rotations import spherical_harmonics
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

NEAR = 3.5
"""Distance (Å) below which pairs are looked at."""
ALONE = 7.0
"""Distance (Å): in a folded operator only pairs without a second image within it are looked at."""
MOST_PAIRS = 4000
"""Number of pairs of two elements that are looked at."""
FEWEST = 4
"""Number of blocks from which on a shell is examined."""
NEGLIGIBLE = 1e-6
"""Overlaps (or shares of the largest element of H) below this are rounding."""


@dataclass(frozen=True, eq=False)
class Bonds:
    """Pairs of near atoms of which an operator holds one image only.

    Attributes
    ----------
    pairs : ndarray of shape (b,)
        Their positions in the operator.
    vectors : ndarray of shape (b, 3)
        From the first atom to the second, in Å.
    """

    pairs: np.ndarray
    vectors: np.ndarray


@dataclass(frozen=True, eq=False)
class ShellOverlaps:
    """The integrals of one shell with s functions of near atoms.

    Attributes
    ----------
    number : int
        Atomic number.
    l : int
        Angular momentum, at least 1.
    shell : int
        Which of the element's shells.
    moments : ndarray of shape (2l+1, 2l+1, 2l+1, 2l+1)
        Σ v_a v_b Y_c Y_d over the bonds, with v the integrals and Y the unit harmonics.
    n_bonds : int
        Number of blocks in the sum.
    """

    number: int
    l: int
    shell: int
    moments: np.ndarray
    n_bonds: int

    def alignment(self, where: np.ndarray, sign: np.ndarray) -> float:
        """Return the share (0 … 1) of Σ|v|² that is parallel to Y_l if our function m is `sign[m]` · v[`where[m]`]."""
        m = np.arange(2 * self.l + 1)
        picked = self.moments[where[:, None], where[None, :], m[:, None], m[None, :]]
        return float((picked * np.outer(sign, sign)).sum() / self.total)

    @property
    def total(self) -> float:
        """Σ|v|² over the bonds."""
        return float(np.einsum("aacc->", self.moments))


def single_bonds(structure: Structure, operator: BlockOperator) -> Bonds:
    """Find pairs of different atoms nearer than `NEAR` whose block is one image's (a second one is negligible)."""
    pairs, _, vectors = near_pairs(structure, operator)
    return Bonds(pairs[pairs >= 0], vectors[pairs >= 0])


def near_pairs(structure: Structure, operator: BlockOperator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the pairs of `single_bonds`, and those of which the operator holds no block.

    Returns
    -------
    pairs : ndarray of shape (b,)
        Their positions in the operator, −1 where it has none.
    atoms : ndarray of shape (b, 2)
        Both atoms.
    vectors : ndarray of shape (b, 3)
        From the first to the second, Å.
    """
    graph = build_graph(structure, ALONE if operator.folded else NEAR)
    chosen = (graph.distance <= NEAR) & (graph.source != graph.target)
    shift = graph.shift
    if operator.folded:
        _, which, count = np.unique(
            graph.source * len(structure) + graph.target, return_inverse=True, return_counts=True
        )
        chosen &= count[which] == 1
        shift = np.zeros_like(shift)
    edges = np.flatnonzero(chosen)
    pairs = operator.find(graph.source[edges], graph.target[edges], shift[edges])
    return pairs, np.column_stack([graph.source[edges], graph.target[edges]]), graph.vector[edges]


def shell_overlaps(operator: BlockOperator, bonds: Bonds) -> list[ShellOverlaps]:
    """Sum the integrals of every shell with l ≥ 1 that has at least `FEWEST` bonds with s functions."""
    sums: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
    zi, zj = operator.numbers[operator.source[bonds.pairs]], operator.numbers[operator.target[bonds.pairs]]
    for a in np.unique(zi):
        for b in np.unique(zj[zi == a]):
            some = np.flatnonzero((zi == a) & (zj == b))
            some = some[:: len(some) // MOST_PAIRS + 1]
            _add_pairs(sums, operator, int(a), int(b), bonds.pairs[some], bonds.vectors[some])
    least = NEGLIGIBLE * float(np.abs(operator.values).max(initial=0.0))
    return [
        ShellOverlaps(z, operator.basis.shells[z][k], k, moments, count)
        for (z, k), (moments, count) in sorted(sums.items())
        if count >= FEWEST and np.einsum("aacc->", moments) > count * least**2
    ]


def _add_pairs(
    sums: dict[tuple[int, int], tuple[np.ndarray, int]],
    operator: BlockOperator,
    a: int,
    b: int,
    pairs: np.ndarray,
    vectors: np.ndarray,
) -> None:
    """Add ⟨shell of a|O|s of b⟩ to the moments of each shell of a."""
    basis, blocks = operator.basis, operator.stack(pairs).astype(np.float64)
    harmonics = spherical_harmonics(vectors, max(basis.shells[a]))
    s_columns = [start for l, start in zip(basis.shells[b], basis.shell_offsets(b)) if l == 0]
    for k, (l, start) in enumerate(zip(basis.shells[a], basis.shell_offsets(a))):
        if l == 0 or not s_columns:
            continue
        y = harmonics[l]
        moments, count = sums.get((a, k), (np.zeros((2 * l + 1,) * 4), 0))
        for column in s_columns:
            v = blocks[:, start : start + 2 * l + 1, column]
            outer_v = np.einsum("na,nb->nab", v, v).reshape(len(v), -1)
            outer_y = np.einsum("nc,nd->ncd", y, y).reshape(len(v), -1)
            moments = moments + (outer_v.T @ outer_y).reshape(moments.shape)
        sums[(a, k)] = (moments, count + len(pairs))
