"""Block L D L†: a sparse Hermitian matrix factorised in dense blocks, front by front.

With the matrix in its order of elimination, a block A₁₁ = Q Λ Q† of a front is diagonalised, X = A₂₁ Q |Λ|^(−1/2) are
the columns of L below it, and X sign(Λ) X† is subtracted from the remaining matrix. All but the diagonal blocks is
matrix products (Duff and Reid, ACM Trans. Math. Softw. 9, 302 (1983) for fronts). Pivots are chosen inside the diagonal
blocks only, so a small |Λ| makes errors larger: who counts with the factors must look at the error of a solution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from nearsight.electronic.elimination import Elimination, Front, elimination
from nearsight.row_threads import over_rows, row_loop

BLOCK = 256
"""Number of orbitals in a diagonal block. With 128 diagonalising takes less time, and products more."""
WIDE = 1024
"""Number of columns eliminated before later columns of a front are updated: fewer, larger products."""
TILE = 512
"""Number of columns updated at a time; half a square of them is not needed and is computed all the same."""


class _Block(NamedTuple):
    """A diagonal block.

    Attributes
    ----------
    start : int
        Its first column in the front.
    root : ndarray, shape (w, w)
        Q |Λ|^(−1/2).
    sign : ndarray, shape (w,)
        Of Λ.
    """

    start: int
    root: np.ndarray
    sign: np.ndarray


class BlockLdl:
    """Factors of a Hermitian matrix, real or complex.

    Parameters
    ----------
    matrix : sparse matrix of shape (n, n)
        Hermitian, in CSR with both triangles stored. The factors take the memory of `Elimination.elements`.
    plan : Elimination, optional
        Order of elimination of a matrix that has elements wherever this one has. By default its own.

    Attributes
    ----------
    negative : int
        Number of negative eigenvalues of the matrix, by Sylvester's law.

    Raises
    ------
    ZeroDivisionError
        If a diagonal block is singular.
    """

    def __init__(self, matrix: sparse.csr_matrix, plan: Elimination | None = None) -> None:
        """Factorise a matrix."""
        matrix.sort_indices()
        self._plan = elimination(matrix) if plan is None else plan
        self._panels = _panels(matrix, self._plan)
        self._blocks: list[list[_Block]] = []
        owner = np.repeat(np.arange(len(self._plan.fronts)), [f.size for f in self._plan.fronts])
        longest = max(len(panel) for panel in self._panels)
        workspace = np.empty(longest * max(TILE, BLOCK + WIDE), dtype=matrix.dtype)
        for front, panel in zip(self._plan.fronts, self._panels, strict=True):
            self._blocks.append(_eliminate(panel, workspace))
            self._update(front, panel, owner, workspace)
        self.negative = int(sum(np.count_nonzero(b.sign < 0) for blocks in self._blocks for b in blocks))

    def _update(self, front: Front, panel: np.ndarray, owner: np.ndarray, workspace: np.ndarray) -> None:
        """Take what a front leaves from the panels of later ones."""
        left = panel[front.size :]
        signs = np.concatenate([b.sign for b in self._blocks[-1]])
        at = 0
        while at < len(front.coupled):
            which = owner[front.coupled[at]]
            later = self._plan.fronts[which]
            end = int(np.searchsorted(front.coupled, later.stop))
            rows = np.concatenate(
                [front.coupled[at:end] - later.start, later.size + np.searchsorted(later.coupled, front.coupled[end:])]
            )
            for first in range(at, end, TILE):
                last = min(first + TILE, end)
                change = _product(left[first:], (left[first:last] * signs).conj().T, workspace)
                over_rows(_take, len(change), self._panels[which], rows[first - at :], change)
            at = end

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return the matrix's inverse times b, of shape (n,) or (n, m)."""
        x = b.reshape(len(b), -1)[self._plan.orbitals].astype(self._panels[0].dtype, copy=False)
        fronts = list(zip(self._plan.fronts, self._panels, self._blocks, strict=True))
        for front, panel, blocks in fronts:
            _forward(front, panel, blocks, x)
        for front, panel, blocks in reversed(fronts):
            _backward(front, panel, blocks, x)
        result = np.empty_like(x)
        result[self._plan.orbitals] = x
        return result.reshape(b.shape)


def _panels(matrix: sparse.csr_matrix, plan: Elimination) -> list[np.ndarray]:
    """For each front its columns (own orbitals and coupled ones, own orbitals) of the matrix."""
    place = np.empty(len(plan.orbitals), dtype=np.int64)
    place[plan.orbitals] = np.arange(len(place))
    row = np.zeros(len(place), dtype=np.int64)
    panels = []
    for front in plan.fronts:
        panel = np.empty((front.size + len(front.coupled), front.size), dtype=matrix.dtype)
        panel.fill(0)  # np.zeros gets small pages of memory, which take seconds
        row[front.start : front.stop] = np.arange(front.size)
        row[front.coupled] = front.size + np.arange(len(front.coupled))
        over_rows(
            _gather,
            front.size,
            panel,
            matrix.indptr,
            matrix.indices,
            matrix.data,
            plan.orbitals[front.start : front.stop],
            front.start,
            place,
            row,
        )
        panels.append(panel)
    return panels


def _product(a: np.ndarray, b: np.ndarray, workspace: np.ndarray) -> np.ndarray:
    """a b, in memory that is there."""
    return np.matmul(a, b, out=workspace[: len(a) * b.shape[1]].reshape(len(a), b.shape[1]))


def _eliminate(panel: np.ndarray, workspace: np.ndarray) -> list[_Block]:
    """Turn the columns of a front into those of L, block by block; the diagonal blocks are returned."""
    size, blocks = panel.shape[1], []
    for begin in range(0, size, WIDE):
        end = min(begin + WIDE, size)
        for start in range(begin, end, BLOCK):
            stop = min(start + BLOCK, end)
            blocks.append(_diagonalised(panel[start:stop, start:stop], start))
            below = _product(panel[stop:, start:stop], blocks[-1].root, workspace)
            panel[stop:, start:stop] = below
            signed = (below[: end - stop] * blocks[-1].sign).conj().T
            change = _product(below, signed, workspace[below.size :])
            over_rows(_subtract, len(change), panel, stop, stop, change)
        signs = np.concatenate([b.sign for b in blocks if b.start >= begin])
        for first in range(end, size, TILE):
            last = min(first + TILE, size)
            signed = (panel[first:last, begin:end] * signs).conj().T
            change = _product(panel[first:, begin:end], signed, workspace)
            over_rows(_subtract, len(change), panel, first, first, change)
    return blocks


def _diagonalised(square: np.ndarray, start: int) -> _Block:
    values, turn = np.linalg.eigh(square)
    if not np.all(np.abs(values) > 0):
        raise ZeroDivisionError("a diagonal block is singular")
    return _Block(start, turn / np.sqrt(np.abs(values)), np.sign(values))


def _forward(front: Front, panel: np.ndarray, blocks: list[_Block], x: np.ndarray) -> None:
    """x becomes D⁻¹ L⁻¹ x at the places of a front, and loses their part at later places."""
    mine = x[front.start : front.stop]
    for block in blocks:
        rows = slice(block.start, block.start + len(block.sign))
        rest = mine[rows] - panel[rows, : block.start] @ mine[: block.start]
        mine[rows] = (block.root.conj().T @ rest) * block.sign[:, None]
    if len(front.coupled):
        x[front.coupled] -= panel[front.size :] @ np.asfortranarray(mine)


def _backward(front: Front, panel: np.ndarray, blocks: list[_Block], x: np.ndarray) -> None:
    """x becomes L†⁻¹ x at the places of a front, where it is that at later places."""
    mine, sums = x[front.start : front.stop], x[front.coupled].conj().T @ panel[front.size :]
    for block in reversed(blocks):
        rows = slice(block.start, block.start + len(block.sign))
        mine[rows] = block.root @ (mine[rows] - sums[:, rows].conj().T * block.sign[:, None])
        sums[:, : block.start] += mine[rows].conj().T @ panel[rows, : block.start]


@row_loop
def _gather(first, last, panel, starts, columns, values, orbitals, start, place, row):  # type: ignore[no-untyped-def]
    """Matrix elements of the orbitals into their columns; a row of a Hermitian matrix is its column's conjugate."""
    for k in range(first, last):
        for j in range(starts[orbitals[k]], starts[orbitals[k] + 1]):
            there = place[columns[j]]
            if there >= start + k:
                panel[row[there], k] += np.conj(values[j])


@row_loop
def _subtract(first, last, panel, row, column, change):  # type: ignore[no-untyped-def]
    """panel −= change, from this row and column on."""
    for i in range(first, last):
        target = panel[row + i]
        for j in range(change.shape[1]):
            target[column + j] -= change[i, j]


@row_loop
def _take(first, last, panel, rows, change):  # type: ignore[no-untyped-def]
    """panel[rows, rows of the first columns] −= change; all columns of the change are the panel's."""
    for i in range(first, last):
        target = panel[rows[i]]
        for j in range(change.shape[1]):
            target[rows[j]] -= change[i, j]
