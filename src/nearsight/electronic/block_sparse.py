"""BlockSparse: large symmetric-pattern matrices of small dense blocks, and products that leave out what is negligible.

Orbitals are grouped into clusters of near atoms, some fifty orbitals each, so that nearly all work is small products of
dense blocks, in single precision. Of a product A B the terms A_IK B_KJ with |A_IK| |B_KJ| below a bound (Frobenius
norms) are not computed, and blocks of the result below a threshold are not kept: in matrices that decay with distance
what is left grows linearly with the number of atoms (N. Bock and M. Challacombe, SIAM J. Sci. Comput. 35, C72, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from nearsight.row_threads import fast_row_loop, over_rows, row_loop

SKIPPED = 0.03
"""Bound of the terms that are not computed, as a share of the threshold of blocks that are kept: there are many."""
SINGLE = np.float32


@dataclass(frozen=True, eq=False)
class Clusters:
    """How orbitals are grouped.

    Attributes
    ----------
    order : (n,) array of int
        The orbitals, cluster after cluster.
    sizes : (B,) array of int64
        Orbitals of each cluster, at least one.
    """

    order: np.ndarray
    sizes: np.ndarray

    @cached_property
    def first(self) -> np.ndarray:
        """(B + 1,) position of each cluster's first orbital in `order`."""
        return np.concatenate([[0], np.cumsum(self.sizes)])


@dataclass(frozen=True, eq=False)
class BlockSparse:
    """A real matrix whose pattern of blocks is symmetric, in single precision.

    Attributes
    ----------
    clusters : Clusters
        Of rows and columns.
    starts : (B + 1,) array of int64
        First block of each row of blocks.
    columns : (K,) array of int64
        Column of each block, ascending in a row.
    places : (K + 1,) array of int64
        Where the blocks begin in `values`.
    values : (M,) array of float32
        The blocks, row-major.
    norms : (K,) array of float64
        Frobenius norms of the blocks.
    """

    clusters: Clusters
    starts: np.ndarray
    columns: np.ndarray
    places: np.ndarray
    values: np.ndarray
    norms: np.ndarray

    @classmethod
    def of(cls, matrix: sparse.csr_matrix, clusters: Clusters, threshold: float) -> BlockSparse:
        """Take the blocks of a matrix of symmetric pattern whose Frobenius norms reach a threshold, and the diagonal.

        Parameters
        ----------
        matrix : sparse matrix of shape (n, n)
            In the order of the orbitals.
        clusters : Clusters
            How they are grouped.
        threshold : float
            Of the norms, in the unit of the matrix.
        """
        rows, columns, parts = [], [], []
        ordered = sparse.csr_matrix(matrix)[clusters.order]
        for i, (begin, end) in enumerate(zip(clusters.first[:-1], clusters.first[1:])):
            strip = ordered[begin:end].toarray()[:, clusters.order].astype(SINGLE)
            norms = np.sqrt(np.add.reduceat(np.square(strip).sum(axis=0), clusters.first[:-1]))
            for j in np.flatnonzero((norms >= threshold) | (np.arange(len(norms)) == i)).tolist():
                rows.append(i)
                columns.append(j)
                parts.append(strip[:, clusters.first[j] : clusters.first[j + 1]].ravel())
        return cls._made(clusters, np.array(rows), np.array(columns), np.concatenate(parts))

    @classmethod
    def _made(cls, clusters: Clusters, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> BlockSparse:
        """Of blocks that are sorted by row and column."""
        starts, places = _bounds(clusters.sizes, rows, columns)
        return cls(clusters, starts, columns, places, values, _norms(values, places))

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.clusters.first[-1])

    @property
    def fill(self) -> float:
        """Share of the matrix that is stored."""
        return len(self.values) / self.n**2

    @cached_property
    def rows(self) -> np.ndarray:
        """(K,) row of each block."""
        return np.repeat(np.arange(len(self.clusters.sizes)), np.diff(self.starts))

    def diagonal_blocks(self) -> list[np.ndarray]:
        """Return views of the blocks of each cluster with itself."""
        sizes, own = self.clusters.sizes, np.flatnonzero(self.rows == self.columns)
        return [self.values[self.places[k] : self.places[k + 1]].reshape(size, size) for k, size in zip(own, sizes)]

    def diagonal(self) -> np.ndarray:
        """Return the diagonal (n,) in double precision, cluster after cluster."""
        return np.concatenate([block.diagonal() for block in self.diagonal_blocks()]).astype(np.float64)

    def trace(self) -> float:
        """Return the sum of the diagonal."""
        return float(self.diagonal().sum())

    def norm(self) -> float:
        """Return the Frobenius norm."""
        return float(np.sqrt(np.square(self.norms).sum()))

    def scaled(self, factor: float, shift: float = 0.0) -> BlockSparse:
        """Return factor × A + shift × 1."""
        values, norms = SINGLE(factor) * self.values, abs(factor) * self.norms
        result = BlockSparse(self.clusters, self.starts, self.columns, self.places, values, norms)
        return result._shifted(shift) if shift else result

    def _shifted(self, shift: float) -> BlockSparse:
        """Add shift × 1 in place, and measure the norms of the diagonal's blocks again."""
        for k, block in zip(np.flatnonzero(self.rows == self.columns), self.diagonal_blocks()):
            block[np.diag_indices(len(block))] += SINGLE(shift)
            self.norms[k] = np.linalg.norm(block)
        return self

    def plus(self, other: BlockSparse, factor: float = 1.0, threshold: float = 0.0) -> BlockSparse:
        """Return A + factor × B, on the blocks of both; those below a threshold are left out (`without_small`)."""
        number = len(self.clusters.sizes)
        keys = [m.rows * number + m.columns for m in (self, other)]
        rows, columns = np.divmod(np.union1d(*keys), number)
        starts, places = _bounds(self.clusters.sizes, rows, columns)
        values = np.zeros(places[-1], dtype=SINGLE)
        for matrix, own, times in zip((self, other), keys, (1.0, factor)):
            found = np.searchsorted(rows * number + columns, own)
            over_rows(_add, len(own), matrix.places, matrix.values, places, values, found, SINGLE(times))
        whole = BlockSparse(self.clusters, starts, columns, places, values, _norms(values, places))
        return whole.without_small(threshold)

    def without_small(self, threshold: float) -> BlockSparse:
        """Leave out the pairs of blocks (i, j) and (j, i), i ≠ j, whose Frobenius norms are both below a threshold."""
        turned = np.lexsort((self.rows, self.columns))
        kept = (np.maximum(self.norms, self.norms[turned]) >= threshold) | (self.rows == self.columns)
        if kept.all():
            return self
        rows, columns, origin = self.rows[kept], self.columns[kept], np.flatnonzero(kept)
        starts, places = _bounds(self.clusters.sizes, rows, columns)
        values = np.empty(places[-1], dtype=SINGLE)
        same = np.zeros(len(rows), dtype=np.bool_)
        sizes = self.clusters.sizes
        over_rows(_copy, len(rows), rows, columns, origin, same, sizes, self.places, self.values, places, values)
        return BlockSparse(self.clusters, starts, columns, places, values, self.norms[kept])

    def times(self, other: BlockSparse, threshold: float, *, symmetric: bool = False) -> BlockSparse:
        """Return A B without what is negligible.

        Parameters
        ----------
        other : BlockSparse
            B.
        threshold : float
            Frobenius norm below which a block of the result is left out; terms below `SKIPPED` times this are not
            computed.
        symmetric : bool
            Whether A B is known to be symmetric: half of it is computed then. Of another one blocks (i, j) and (j, i)
            are left out where both are below the threshold.
        """
        skipped, sizes = SKIPPED * threshold, self.clusters.sizes
        number = len(sizes)
        found = np.zeros((number, number), dtype=np.bool_)
        left = (self.starts, self.columns, self.norms)
        right = (other.starts, other.columns, other.norms)
        over_rows(_mark, number, *left, *right, skipped, symmetric, found, least=1)
        if not symmetric:
            found |= found.T
        rows, columns = np.nonzero(found)
        starts, places = _bounds(sizes, rows, columns)
        values = np.zeros(places[-1], dtype=SINGLE)
        blocks = (self.places, self.values, other.places, other.values)
        result = (starts, columns, places, values)
        over_rows(_multiply, number, *left, *right, *blocks, skipped, symmetric, sizes, *result, least=1)
        norms = _norms(values, places)
        if symmetric:
            return _mirrored(self.clusters, rows, columns, places, values, norms, threshold)
        return BlockSparse(self.clusters, starts, columns, places, values, norms).without_small(threshold)

    def dense(self) -> np.ndarray:
        """Return the matrix (n, n), cluster after cluster."""
        result, first = np.zeros((self.n, self.n), dtype=SINGLE), self.clusters.first
        for k, (i, j) in enumerate(zip(self.rows, self.columns)):
            shape = self.clusters.sizes[i], self.clusters.sizes[j]
            block = self.values[self.places[k] : self.places[k + 1]].reshape(shape)
            result[first[i] : first[i + 1], first[j] : first[j + 1]] = block
        return result

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """Return the product with x of shape (n, r), cluster after cluster, in double precision."""
        first, number = self.clusters.first, len(self.clusters.sizes)
        vectors, own = np.ascontiguousarray(x.T), (self.starts, self.columns, self.places, self.values)
        result = np.zeros(vectors.shape)
        over_rows(_times_vectors, number, *own, first, vectors, result, least=1)
        return result.T


def identity(clusters: Clusters) -> BlockSparse:
    """Return the unit matrix."""
    each = np.arange(len(clusters.sizes))
    values = np.concatenate([np.eye(size, dtype=SINGLE).ravel() for size in clusters.sizes])
    return BlockSparse._made(clusters, each, each, values)


def own_blocks_of_product(a: BlockSparse, b: BlockSparse) -> list[np.ndarray]:
    """Return the diagonal blocks of A Bᵀ."""
    sizes = a.clusters.sizes
    places = np.concatenate([[0], np.cumsum(sizes**2)])
    values = np.zeros(places[-1], dtype=SINGLE)
    left, right = (a.starts, a.columns, a.places, a.values), (b.starts, b.columns, b.places, b.values)
    over_rows(_own, len(sizes), *left, *right, sizes, places, values, least=1)
    return [values[places[k] : places[k + 1]].reshape(size, size) for k, size in enumerate(sizes)]


def column_sums_of_products(a: BlockSparse, b: BlockSparse) -> np.ndarray:
    """Return Σ_μ A_μν B_μν (n,), element by element, cluster after cluster."""
    number = len(a.clusters.sizes)
    of_a, of_b = (m.rows * number + m.columns for m in (a, b))
    in_a, in_b = np.intersect1d(of_a, of_b, assume_unique=True, return_indices=True)[1:]
    result, first, sizes = np.zeros(a.n), a.clusters.first, a.clusters.sizes
    for k, l in zip(in_a, in_b):
        products = a.values[a.places[k] : a.places[k + 1]] * b.values[b.places[l] : b.places[l + 1]]
        j = a.columns[k]
        result[first[j] : first[j + 1]] += products.reshape(-1, sizes[j]).sum(axis=0)
    return result


def _bounds(sizes: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First block of each row, and first value of each block."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(sizes)))])
    return starts, np.concatenate([[0], np.cumsum(sizes[rows] * sizes[columns])])


def _norms(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    norms = np.zeros(len(places) - 1)
    over_rows(_squares, len(norms), places, values, norms)
    return np.sqrt(norms)


def _mirrored(
    clusters: Clusters,
    rows: np.ndarray,
    columns: np.ndarray,
    places: np.ndarray,
    values: np.ndarray,
    norms: np.ndarray,
    threshold: float,
) -> BlockSparse:
    """The whole matrix of its upper blocks, without those below a threshold."""
    kept = np.flatnonzero((norms >= threshold) | (rows == columns))
    above = kept[rows[kept] != columns[kept]]
    whole = np.concatenate([rows[kept], columns[above]]), np.concatenate([columns[kept], rows[above]])
    origin, turned = np.concatenate([kept, above]), np.arange(len(kept) + len(above)) >= len(kept)
    order = np.lexsort(whole[::-1])
    rows, columns, origin, turned = whole[0][order], whole[1][order], origin[order], turned[order]
    starts, own = _bounds(clusters.sizes, rows, columns)
    result = np.empty(own[-1], dtype=SINGLE)
    over_rows(_copy, len(rows), rows, columns, origin, turned, clusters.sizes, places, values, own, result)
    return BlockSparse(clusters, starts, columns, own, result, norms[origin])


@row_loop
def _squares(begin, end, places, values, result):  # type: ignore[no-untyped-def]
    for k in range(begin, end):
        total = 0.0
        for p in range(places[k], places[k + 1]):
            total += values[p] * values[p]
        result[k] = total


@fast_row_loop
def _times_vectors(begin, end, starts, columns, places, values, first, x, result):  # type: ignore[no-untyped-def]
    """`x` and `result` hold a vector in each row."""
    for i in range(begin, end):
        for a in range(starts[i], starts[i + 1]):
            j, p = columns[a], places[a]
            width = first[j + 1] - first[j]
            for row in range(first[i], first[i + 1]):
                own = values[p : p + width]
                for v in range(len(x)):
                    one, total = x[v, first[j] : first[j + 1]], 0.0
                    for column in range(width):
                        total += own[column] * one[column]
                    result[v, row] += total
                p += width


@row_loop
def _add(begin, end, places, values, target_places, target, found, factor):  # type: ignore[no-untyped-def]
    for k in range(begin, end):
        to = target_places[found[k]]
        for p in range(places[k + 1] - places[k]):
            target[to + p] += factor * values[places[k] + p]


@row_loop
def _copy(begin, end, rows, columns, origin, turned, sizes, places, values, own, result):  # type: ignore[no-untyped-def]
    for k in range(begin, end):
        n, m = sizes[rows[k]], sizes[columns[k]]
        source, to = places[origin[k]], own[k]
        if turned[k]:
            for i in range(n):
                for j in range(m):
                    result[to + i * m + j] = values[source + j * n + i]
        else:
            for p in range(n * m):
                result[to + p] = values[source + p]


@row_loop
def _mark(  # type: ignore[no-untyped-def]
    begin, end, starts, columns, norms, other_starts, other_columns, other_norms, skipped, half, found
):
    """Which blocks of the product have a term that is not negligible."""
    for i in range(begin, end):
        found[i, i] = True
        for a in range(starts[i], starts[i + 1]):
            k = columns[a]
            for b in range(other_starts[k], other_starts[k + 1]):
                j = other_columns[b]
                if (j >= i or not half) and norms[a] * other_norms[b] >= skipped:
                    found[i, j] = True


@row_loop
def _multiply(  # type: ignore[no-untyped-def]
    begin,
    end,
    starts,
    columns,
    norms,
    other_starts,
    other_columns,
    other_norms,
    places,
    values,
    other_places,
    other_values,
    skipped,
    half,
    sizes,
    result_starts,
    result_columns,
    result_places,
    result,
):
    where = np.zeros(len(sizes), np.int64)
    for i in range(begin, end):
        n = sizes[i]
        for c in range(result_starts[i], result_starts[i + 1]):
            where[result_columns[c]] = c
        for a in range(starts[i], starts[i + 1]):
            k = columns[a]
            m = sizes[k]
            left = values[places[a] : places[a + 1]].reshape(n, m)
            for b in range(other_starts[k], other_starts[k + 1]):
                j = other_columns[b]
                if (half and j < i) or norms[a] * other_norms[b] < skipped:
                    continue
                term = np.dot(left, other_values[other_places[b] : other_places[b + 1]].reshape(m, sizes[j]))
                flat, to = term.ravel(), result_places[where[j]]
                for p in range(n * sizes[j]):
                    result[to + p] += flat[p]


@row_loop
def _own(  # type: ignore[no-untyped-def]
    begin,
    end,
    starts,
    columns,
    places,
    values,
    other_starts,
    other_columns,
    other_places,
    other_values,
    sizes,
    own_places,
    result,
):
    for i in range(begin, end):
        n, b = sizes[i], other_starts[i]
        for a in range(starts[i], starts[i + 1]):
            while b < other_starts[i + 1] and other_columns[b] < columns[a]:
                b += 1
            if b == other_starts[i + 1]:
                break
            if other_columns[b] != columns[a]:
                continue
            m = sizes[columns[a]]
            left = values[places[a] : places[a + 1]].reshape(n, m)
            term = np.dot(left, other_values[other_places[b] : other_places[b + 1]].reshape(n, m).T).ravel()
            for p in range(n * n):
                result[own_places[i] + p] += term[p]
