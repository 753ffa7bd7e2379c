"""Overlaps of a basis whose functions nobody said, as Slater-Koster functions of distance fitted to matrices S.

The overlap of two contracted Gaussian shells with the bond along z is, for each |m|,

    f(r) = Σ_p Σ_n c_pn r^p exp(−μ_n r²),    p = |l − l'|, |l − l'| + 2, … l + l',

with μ = αβ/(α + β) of the exponents. So these functions, with a ladder of μ, are what the fit takes: they have the
right power at short and the right decay at long distances, and few of them are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearsight.errors import InputError
from nearsight.units import BOHR_IN_ANGSTROM

EXPONENTS = np.geomspace(0.03, 2.5, 14) / BOHR_IN_ANGSTROM**2
"""μ, 1/Å²."""
FARTHEST = 50.0
"""Å, beyond which no overlap of atoms reaches."""
Channel = tuple[int, int, int]
"""Shell of the first atom, shell of the second (their places in the basis), |m|."""


def powers(l: int, other: int) -> range:
    """Return the powers p of shells of two angular momenta."""
    return range(abs(l - other), l + other + 1, 2)


def radial_values(l: int, other: int, distance: np.ndarray) -> np.ndarray:
    """Return r^p exp(−μ r²) of all p and μ, each with a maximum near 1; shape (D, P·M).

    Parameters
    ----------
    l, other : int
        Angular momenta.
    distance : (D,) array of float
        Å.
    """
    decays = np.exp(-EXPONENTS * distance[:, None] ** 2)
    return np.concatenate([(distance[:, None] / 3.0) ** p * decays for p in powers(l, other)], axis=1)


@dataclass(frozen=True, eq=False)
class FittedOverlap:
    """Fitted overlaps of all pairs of elements that occur in the data.

    Attributes
    ----------
    range : float
        Å, beyond which overlaps are zero.
    coefficients : mapping of (int, int) to mapping of Channel to array
        Z ≤ Z' → c of every channel with |m| ≤ min(l, l'), in the order of `radial_values`.
    own : mapping of int to (n, n) array
        The block of an atom with itself.
    nearest : mapping of (int, int) to float
        Å, the smallest distance that was fitted; nothing is said of nearer atoms.
    error : float
        The largest error of an element of a pair that was left out of the fit.
    """

    range: float
    coefficients: Mapping[tuple[int, int], Mapping[Channel, np.ndarray]]
    own: Mapping[int, np.ndarray]
    nearest: Mapping[tuple[int, int], float]
    error: float

    def along_z(
        self, pair: tuple[int, int], shells: tuple[tuple[int, ...], tuple[int, ...]], distance: np.ndarray
    ) -> np.ndarray:
        """Return the blocks (D, n, n') of two atoms, the second above the first along z.

        Parameters
        ----------
        pair : (int, int)
            Z ≤ Z'.
        shells : pair of tuple of int
            Their shells.
        distance : (D,) array of float
            Å.
        """
        first, second = (np.cumsum([0, *(2 * l + 1 for l in own)]) for own in shells)
        result = np.zeros((len(distance), int(first[-1]), int(second[-1])))
        within = distance <= self.range
        for (a, b, m), c in self.coefficients[pair].items():
            l, other = shells[0][a], shells[1][b]
            values = np.where(within, radial_values(l, other, distance) @ c, 0.0)
            for sign in {1, -1} if m else {1}:
                result[:, first[a] + l + sign * m, second[b] + other + sign * m] = values
        return result

    def check(self, shells: Mapping[int, tuple[int, ...]]) -> None:
        """Check that the numbers fit a basis.

        Parameters
        ----------
        shells : mapping of int to tuple of int
            Of the basis.

        Raises
        ------
        InputError
            They are of other shells, not finite, or reach nowhere or farther than any overlap.
        """
        sound = all(
            0 <= a < len(shells.get(pair[0], ()))
            and 0 <= b < len(shells.get(pair[1], ()))
            and 0 <= m <= min(shells[pair[0]][a], shells[pair[1]][b])
            and c.shape == (len(powers(shells[pair[0]][a], shells[pair[1]][b])) * len(EXPONENTS),)
            and bool(np.isfinite(c).all())
            for pair, channels in self.coefficients.items()
            for (a, b, m), c in channels.items()
        )
        sizes = {z: sum(2 * l + 1 for l in own) for z, own in shells.items()}
        own = all(
            block.shape == (sizes.get(z), sizes.get(z)) and bool(np.isfinite(block).all())
            for z, block in self.own.items()
        )
        lengths = np.array([self.range, self.error, *self.nearest.values()])
        possible = self.range > 0 and bool(((lengths >= 0) & (lengths <= FARTHEST)).all())
        if not sound or not own or not possible:
            raise InputError("expected fitted overlaps of the shells of the basis, got others or numbers that are none")

    def as_plain(self) -> dict[str, Any]:
        """Return everything as plain numbers, lists and texts, for JSON."""
        return {
            "range": self.range,
            "error": self.error,
            "own": {str(z): block.tolist() for z, block in self.own.items()},
            "pairs": [
                {
                    "elements": list(pair),
                    "nearest": self.nearest[pair],
                    "channels": [[*channel, *c.tolist()] for channel, c in channels.items()],
                }
                for pair, channels in self.coefficients.items()
            ],
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> FittedOverlap:
        """Return what `as_plain` took apart.

        Raises
        ------
        KeyError, ValueError, TypeError
            Something is missing, or no number.
        """
        pairs = {(int(p["elements"][0]), int(p["elements"][1])): p for p in plain["pairs"]}
        return cls(
            float(plain["range"]),
            {
                pair: {(int(a), int(b), int(m)): np.array(c, dtype=np.float64) for a, b, m, *c in p["channels"]}
                for pair, p in pairs.items()
            },
            {int(z): np.array(block, dtype=np.float64) for z, block in plain["own"].items()},
            {pair: float(p["nearest"]) for pair, p in pairs.items()},
            float(plain["error"]),
        )
