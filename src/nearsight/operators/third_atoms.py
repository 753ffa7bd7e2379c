"""Overlaps by way of third atoms, Σ_k S_ik S_kj: how orbitals of a pair of atoms meet on the atoms beside their bond.

Integrals over three centres, ⟨i|V_k|j⟩ with the potential of an atom k, vary like such products, shell of k by shell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nearsight.operators import runs
from nearsight.operators.blocks import BlockOperator, ElementPair
from nearsight.row_threads import fast_row_loop, over_rows

LEAST, LEAST_PRODUCT = 1e-6, 5e-7
"""Norm of the blocks of S that are left out, most of what is within the reach of the functions, and product of the
norms of two blocks that are not multiplied. They do not change when a structure is turned."""
AT_ONCE = 256
"""Atoms i whose sums are held at once."""
LEAST_ATOMS = 8
"""Atoms i of one thread."""

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
        self._between, self._norms = overlap.select(kept), norms[kept]
        self._starts = np.searchsorted(self._between.source, np.arange(overlap.n_atoms + 1))

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
        for first in range(0, self.overlap.n_atoms, AT_ONCE):
            chosen = {
                pair: np.flatnonzero((own[0] >= first) & (own[0] < first + AT_ONCE)) for pair, own in pairs.items()
            }
            some = {pair: tuple(x[own] for x in pairs[pair]) for pair, own in chosen.items() if len(own)}
            for pair, blocks in self._sums(shells, some) if some else ():
                yield pair, chosen[pair], blocks

    def around(self, shells: Sequence[Shell], blocks: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Return the symmetric part of Σ_k S_ik M_k S_ki over each shell of all atoms k but i of an element.

        Parameters
        ----------
        shells : sequence of (int, int)
            The element of k, and the position of the shell among its own.
        blocks : mapping of int to (n, n_k, n_k) array
            Z → M_k of the atoms of each element.

        Returns
        -------
        dict of int to (n, shells, n_i, n_i) array
            Z → of the atoms i of each element, in the unit of M.
        """
        s, between, sizes = self.overlap, self._between, np.diff(self.overlap.orbital_offsets)
        matrices, starts = np.empty(int((sizes**2).sum())), np.cumsum(sizes**2) - sizes**2
        for z, own in blocks.items():
            atoms = np.flatnonzero(s.numbers == z)
            runs.scatter(matrices, starts[atoms], own.reshape(len(atoms), -1))
        places = len(shells) * starts
        result = np.zeros(len(shells) * len(matrices))
        over_rows(
            _add_around,
            s.n_atoms,
            result,
            places,
            (self._starts, between.target, between.offsets, between.values, self._norms),
            (sizes, s.orbital_offsets, self._positions(shells)),
            (matrices, starts),
            least=LEAST_ATOMS,
        )
        found = {}
        for z in blocks:
            atoms, n = np.flatnonzero(s.numbers == z), s.basis.n_orbitals(z)
            own = runs.gather(result, places[atoms], len(shells) * n * n).reshape(len(atoms), len(shells), n, n)
            found[z] = (own + own.transpose(0, 1, 3, 2)) / 2
        return found

    def _sums(
        self, shells: Sequence[Shell], pairs: Mapping[ElementPair, tuple[np.ndarray, ...]]
    ) -> Iterator[tuple[ElementPair, np.ndarray]]:
        s, between, sizes = self.overlap, self._between, np.diff(self.overlap.orbital_offsets)
        i, j, cell = (np.concatenate(parts) for parts in zip(*pairs.values()))
        low = cell.min(axis=0)
        width = cell.max(axis=0) - low + 1
        key, of_pair = np.unique(
            np.ravel_multi_index((i, *(cell - low).T, j), (s.n_atoms, *width, s.n_atoms)), return_inverse=True
        )
        atoms, end = np.divmod(key, int(np.prod(width)) * s.n_atoms)  # j in its cell
        lengths = len(shells) * sizes[atoms] * sizes[end % s.n_atoms]
        places, result = np.cumsum(lengths) - lengths, np.zeros(int(lengths.sum()))
        rows = np.unique(atoms)
        over_rows(
            _add_products,
            len(rows),
            result,
            (rows, np.searchsorted(atoms, np.append(rows, rows[-1] + 1)), end, places),
            (self._starts, between.target, between.shift, between.offsets, between.values, self._norms),
            (sizes, s.orbital_offsets, self._positions(shells)),
            (low, width),
            least=LEAST_ATOMS,
        )
        stop = np.cumsum([len(own[0]) for own in pairs.values()])
        for pair, own in zip(pairs, np.split(of_pair.reshape(-1), stop[:-1])):
            shape = len(shells), *(s.basis.n_orbitals(z) for z in pair)
            yield pair, runs.gather(result, places[own], int(np.prod(shape))).reshape(len(own), *shape)

    def _positions(self, shells: Sequence[Shell]) -> np.ndarray:
        """(orbitals,) position of the shell of each orbital of the structure among some; −1 where it is none."""
        basis, place = self.overlap.basis, {shell: k for k, shell in enumerate(shells)}
        own = {
            z: [place.get((z, k), -1) for k, l in enumerate(basis.shells[z]) for _ in range(2 * l + 1)]
            for z in set(self.overlap.numbers.tolist())
        }
        return np.concatenate([np.array(own[z], dtype=np.int64) for z in self.overlap.numbers.tolist()])


def _norms(operator: BlockOperator) -> np.ndarray:
    """(P,) the Frobenius norm of each block."""
    if not operator.n_pairs:
        return np.zeros(0)
    squares = np.add.reduceat(np.square(operator.values, dtype=np.float64), operator.offsets[: operator.n_pairs])
    return np.asarray(np.sqrt(squares))


@fast_row_loop
def _add_products(first, last, result, pairs, between, orbitals, cells):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add S_ik S_kj to the blocks of the pairs of some atoms i; compiled.

    Which pair an atom j in a cell belongs to is looked up in a table of all atoms in these cells.
    """
    atoms, pair_starts, end, places = pairs
    starts, target, shift, offsets, values, norms = between
    sizes, orbital_offsets, positions = orbitals
    low, width = cells
    nx, ny, nz = width
    n = len(sizes)
    number = np.full(nx * ny * nz * n, -1, dtype=np.int64)
    for row in range(first, last):
        i = atoms[row]
        for pair in range(pair_starts[row], pair_starts[row + 1]):
            number[end[pair]] = pair
        for p in range(starts[i], starts[i + 1]):
            k = target[p]
            left = values[offsets[p] : offsets[p + 1]]
            least = LEAST_PRODUCT / norms[p]
            for q in range(starts[k], starts[k + 1]):
                if norms[q] < least:
                    continue
                x = shift[p, 0] + shift[q, 0] - low[0]
                y = shift[p, 1] + shift[q, 1] - low[1]
                z = shift[p, 2] + shift[q, 2] - low[2]
                if x < 0 or y < 0 or z < 0 or x >= nx or y >= ny or z >= nz:
                    continue
                j = target[q]
                pair = number[((x * ny + y) * nz + z) * n + j]
                if pair < 0:
                    continue
                for orbital in range(sizes[k]):
                    shell = positions[orbital_offsets[k] + orbital]
                    if shell < 0:
                        continue
                    start, stop = offsets[q] + orbital * sizes[j], places[pair] + (shell + 1) * sizes[i] * sizes[j]
                    right = values[start : start + sizes[j]]
                    own = result[stop - sizes[i] * sizes[j] : stop]
                    for a in range(sizes[i]):
                        factor = left[a * sizes[k] + orbital]
                        part = own[a * sizes[j] : (a + 1) * sizes[j]]
                        for b in range(sizes[j]):
                            part[b] += factor * right[b]
        for pair in range(pair_starts[row], pair_starts[row + 1]):
            number[end[pair]] = -1


@fast_row_loop
def _add_around(first, last, result, places, between, orbitals, own):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add S_ik M_k S_ki to the blocks of some atoms i; compiled."""
    starts, target, offsets, values, norms = between
    sizes, orbital_offsets, positions = orbitals
    matrices, matrix_starts = own
    product = np.empty(sizes.max())
    for i in range(first, last):
        n = sizes[i]
        for p in range(starts[i], starts[i + 1]):
            if norms[p] * norms[p] < LEAST_PRODUCT:
                continue
            k = target[p]
            m = sizes[k]
            s = values[offsets[p] : offsets[p + 1]]
            matrix = matrices[matrix_starts[k] : matrix_starts[k] + m * m]
            for orbital in range(m):
                shell = positions[orbital_offsets[k] + orbital]
                if shell < 0:
                    continue
                for b in range(n):
                    total = 0.0
                    for c in range(m):
                        total += matrix[orbital * m + c] * s[b * m + c]
                    product[b] = total
                block = result[places[i] + shell * n * n : places[i] + (shell + 1) * n * n]
                for a in range(n):
                    factor = s[a * m + orbital]
                    for b in range(n):
                        block[a * n + b] += factor * product[b]
