"""The bond layout: the block of a pair of atoms in the frame of its bond, sorted by what symmetry leaves independent.

With the bond along +z, rotations about it mix only components of equal |m|: cos mφ and sin mφ. A reflection through a
plane that holds the bond turns natural irreps (−1)^(l1+l2+L) = +1 into themselves with sin → −sin, and the others with
cos → −cos; (−sin, cos) of the latter thus behaves like (cos, sin) of the former, and their m = 0, a pseudoscalar, is
projected out. Inversion about the middle of the bond exchanges the two atoms. For atoms of one element it takes irrep L
of slot (a, b) to (−1)^L times that of slot (b, a): half the sums and differences of the two are even, the others odd,
and H_ji = H_ijᵀ holds for whatever values they have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight.orbitals.coupled_layout import CoupledLayout, ShellLabel
from nearsight.orbitals.coupling import irreps_of
from nearsight.orbitals.rotations import orbital_frames

Term = tuple[int, float]
Label = tuple[ShellLabel, ShellLabel, int]


@dataclass(frozen=True)
class BondBlock:
    """The channels of one exchange parity and one order |m|.

    Attributes
    ----------
    parity : int
        0 for even, 1 for odd under exchange of the atoms; always 0 for two elements.
    order : int
        |m|.
    channels : int
        Number of channels.
    start : int
        First column; those of cos mφ, then those of sin mφ (m > 0).
    """

    parity: int
    order: int
    channels: int
    start: int

    @property
    def columns(self) -> slice:
        """All columns of the block."""
        return slice(self.start, self.start + self.channels * self.components)

    @property
    def components(self) -> int:
        """Components of each channel: 1 for m = 0, else 2."""
        return 1 if self.order == 0 else 2


@dataclass(frozen=True)
class BondLayout:
    """The channels of the blocks of one pair of elements.

    Attributes
    ----------
    layout : CoupledLayout
        A coupled layout that has both elements.
    pair : (int, int)
        Atomic numbers Z_i ≤ Z_j.
    """

    layout: CoupledLayout
    pair: tuple[int, int]

    @property
    def parities(self) -> int:
        """Number of parities: 2 where exchange of the atoms is a symmetry, else 1."""
        return 2 if self.pair[0] == self.pair[1] else 1

    @cached_property
    def blocks(self) -> tuple[BondBlock, ...]:
        """The blocks with at least one channel, by parity, then order."""
        found, start = [], 0
        for (parity, order), channels in sorted(self._channels.items()):
            found.append(BondBlock(parity, order, len(channels), start))
            start += len(channels) * (1 if order == 0 else 2)
        return tuple(found)

    @cached_property
    def width(self) -> int:
        """Number of columns of all blocks."""
        return self.blocks[-1].columns.stop

    @property
    def n_channels(self) -> int:
        """Number of channels of all blocks."""
        return sum(block.channels for block in self.blocks)

    @cached_property
    def channel_of_column(self) -> np.ndarray:
        """(width,) number of the channel that a column is a component of; channels count over all blocks."""
        parts, first = [], 0
        for block in self.blocks:
            parts.append(np.tile(first + np.arange(block.channels), block.components))
            first += block.channels
        return np.concatenate(parts)

    @cached_property
    def channel_labels(self) -> tuple[tuple[int, int, Label], ...]:
        """(parity, |m|, (a, b, L)) of each channel.

        Layouts of more elements have the same labels for this pair, possibly in another order within a block.
        """
        irrep = {middle: label for label, middle in self._place.items()}
        return tuple((*key, irrep[terms[0][0]]) for key, own in sorted(self._channels.items()) for terms, _ in own)

    @cached_property
    def matrix(self) -> np.ndarray:
        """(width, n_i·n_j) with orthonormal rows: columns = matrix @ (block in the frame of the bond).reshape(-1)."""
        rows = np.zeros((self.width, self.layout.size))
        for block in self.blocks:
            for c, (terms, natural) in enumerate(self._channels[block.parity, block.order]):
                for position, sign in terms:
                    self._fill(rows[block.columns], block, c, position, sign, natural)
        return rows @ self.layout.matrix(*self.pair)

    def columns_of(self, blocks: np.ndarray, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Turn blocks on the common axes into columns of this layout.

        Parameters
        ----------
        blocks : (e, …, n_i, n_j) array
            Blocks of bonds from an atom of the first element to one of the second, in any unit.
        frames : sequence of (e, 2l+1, 2l+1) array
            D^0, D^1, … of the rotations that take the bonds to +z.

        Returns
        -------
        (e, …, width) array
            Columns in the same unit.
        """
        several = (slice(None), *(None,) * (blocks.ndim - 3))
        turned = self._left(frames)[several] @ blocks @ self._right(frames).transpose(0, 2, 1)[several]
        return np.asarray(turned.reshape(*blocks.shape[:-2], math.prod(turned.shape[-2:])) @ self.matrix.T)

    def blocks_of(self, columns: np.ndarray, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Turn columns of this layout into blocks on the common axes.

        Parameters
        ----------
        columns : (e, width) array
            Columns in any unit.
        frames : sequence of (e, 2l+1, 2l+1) array
            As in `columns_of`.

        Returns
        -------
        (e, n_i, n_j) array
            Blocks; what symmetry projects out is zero.
        """
        sizes = [self.layout.basis.n_orbitals(z) for z in self.pair]
        turned = (columns @ self.matrix).reshape(len(columns), *sizes)
        return np.asarray(self._left(frames).transpose(0, 2, 1) @ turned @ self._right(frames))

    def _left(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        return orbital_frames(self.layout.basis, self.pair[0], frames)

    def _right(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        return orbital_frames(self.layout.basis, self.pair[1], frames)

    @staticmethod
    def _fill(rows: np.ndarray, block: BondBlock, c: int, middle: int, sign: float, natural: bool) -> None:
        """One channel from the coupled irrep whose m = 0 is at `middle`."""
        m = block.order
        if m == 0:
            rows[c, middle] = sign
        elif natural:
            rows[c, middle + m] = rows[block.channels + c, middle - m] = sign
        else:
            rows[c, middle - m], rows[block.channels + c, middle + m] = sign, -sign

    @cached_property
    def _channels(self) -> dict[tuple[int, int], list[tuple[list[Term], bool]]]:
        """(parity, |m|) → channels: coupled irreps by the position of their m = 0 with factors; whether natural."""
        place, mask = self._place, self.layout.mask(*self.pair)
        found: dict[tuple[int, int], list[tuple[list[Term], bool]]] = {}
        for a, b, l in place:
            if not mask[place[a, b, l]]:
                continue
            natural = (a[0] + b[0] + l) % 2 == 0
            for parity, terms in self._combinations(place, a, b, l):
                for m in range(0 if natural else 1, l + 1):
                    found.setdefault((parity, m), []).append((terms, natural))
        return found

    @cached_property
    def _place(self) -> dict[Label, int]:
        """Positions of the m = 0 of all irreps of the coupled layout, in its order."""
        labels = [(a, b, l) for a, b in self.layout.slots for l in irreps_of(a[0], b[0])]
        middle = np.cumsum([2 * l + 1 for _, _, l in labels]) - [l + 1 for _, _, l in labels]
        return {label: int(k) for label, k in zip(labels, middle)}

    def _combinations(
        self, place: dict[Label, int], a: ShellLabel, b: ShellLabel, l: int
    ) -> list[tuple[int, list[Term]]]:
        """(parity, terms) of the irrep and its counterpart, each pair of counterparts once."""
        here = place[a, b, l]
        if self.parities == 1:
            return [(0, [(here, 1.0)])]
        if a == b:
            return [(l % 2, [(here, 1.0)])]
        if a > b:
            return []
        there, half, sign = place[b, a, l], 0.5**0.5, (-1.0) ** l
        return [(0, [(here, half), (there, sign * half)]), (1, [(here, half), (there, -sign * half)])]
