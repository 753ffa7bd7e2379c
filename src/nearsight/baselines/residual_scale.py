"""The size of a baseline's residual: r.m.s. per irrep, for edges a smooth function of distance.

An irrep's r.m.s. is over its 2L+1 numbers. Irreps that a block does not have get the smallest scale, so that dividing
by any scale is safe.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import PchipInterpolator

from nearsight.baselines.irrep_table import IrrepTable

SMALLEST = 1e-7
"""E_h; smaller entries are lost in the files of DFT codes."""

BIN = 0.25
"""Å, width of the bins of the histograms of squares, which are smoothed by a Gaussian of one bin."""

FEWEST = 0.5
"""Bonds in a smoothed bin below which the nearest bin with more of them is used instead."""


@dataclass(eq=False)
class NodeScaleFit:
    """Sums of squared residuals of the on-site blocks of every element.

    Attributes
    ----------
    table : IrrepTable
        The K irreps.
    """

    table: IrrepTable
    _sums: dict[int, np.ndarray] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)

    def add(self, z: int, residual: np.ndarray) -> None:
        """Count atoms of an element.

        Parameters
        ----------
        z : int
            Atomic number.
        residual : (n, size) array of float
            E_h.
        """
        squares = mean_squares(self.table, residual).sum(axis=0)
        self._sums[z] = self._sums.get(z, 0.0) + (squares + squares[self.table.exchanged]) / 2
        self._counts[z] = self._counts.get(z, 0) + len(residual)

    def solve(self) -> dict[int, np.ndarray]:
        """Return Z → (K,) scales in E_h, positive."""
        return {z: np.sqrt(total / self._counts[z]) + SMALLEST for z, total in self._sums.items() if self._counts[z]}


def bin_centres(cutoff: float) -> np.ndarray:
    """Return the centres of the histograms' bins up to a cutoff, (G,) in Å."""
    return BIN * (np.arange(max(2, int(np.ceil(cutoff / BIN - 1e-9)))) + 0.5)


def add_to_bins(sums: np.ndarray, distance: np.ndarray, rows: np.ndarray) -> None:
    """Add bonds to a histogram.

    Parameters
    ----------
    sums : (G, 1 + K) array of float64
        The histogram, changed in place.
    distance : (n,) array of float
        Å.
    rows : (n, 1 + K) array of float
        Ones, and squares.
    """
    np.add.at(sums, np.clip((distance / BIN).astype(np.int64), 0, len(sums) - 1), rows)


def smoothed(sums: np.ndarray) -> np.ndarray:
    """Turn a histogram into r.m.s. values.

    Parameters
    ----------
    sums : (G, 1 + K) array of float64
        Counts, and sums of squares.

    Returns
    -------
    (G, K) array of float64
        R.m.s. of the squares after smoothing by a Gaussian of one bin, at least `SMALLEST`.
    """
    bins = np.arange(len(sums))
    total = np.exp(-0.5 * (bins[:, None] - bins) ** 2) @ sums
    good = np.flatnonzero(total[:, 0] >= min(FEWEST, total[:, 0].max()))
    nearest = good[np.abs(bins[:, None] - good).argmin(axis=1)]
    return np.asarray(np.sqrt(total[nearest, 1:] / total[nearest, :1]) + SMALLEST)


def scale_at(centres: np.ndarray, values: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Interpolate scales.

    Parameters
    ----------
    centres : (G,) array of float64
        Å, ascending.
    values : (G, K) array of float64
        Scales, positive.
    distance : (n,) array of float
        Å.

    Returns
    -------
    (n, K) array of float64
        Scales; their logarithm is interpolated by monotone cubic polynomials, and constant at both ends.
    """
    places = np.concatenate([[centres[0] - BIN], centres, [centres[-1] + BIN]])
    curve = PchipInterpolator(places, np.log(np.pad(values, ((1, 1), (0, 0)), mode="edge")))
    return np.asarray(np.exp(curve(np.clip(distance, places[0], places[-1]))))


def mean_squares(table: IrrepTable, residual: np.ndarray) -> np.ndarray:
    """Return the mean square of each irrep over its 2L+1 numbers.

    Parameters
    ----------
    table : IrrepTable
        The K irreps.
    residual : (n, size) array of float
        Coupled vectors.

    Returns
    -------
    (n, K) array of float64
        In the squared unit of the residuals.
    """
    return np.asarray(np.add.reduceat(residual**2, table.start, axis=1)) / (2 * table.degree + 1)
