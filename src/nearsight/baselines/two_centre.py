"""Two-centre terms: Slater-Koster terms in the coupled basis.

The irreps of natural parity are what a bond alone determines of H_ij, each a function of distance times Y_L:

    H_ij[k, LM] = f_k^{Z_i Z_j}(r_ij) Y_LM(r̂_ij),   f_k(r) = Σ_b R_b(r) c_bk.

Transposing a block turns irrep k of slot (a, b) into that of (b, a), and r̂ → −r̂ gives (−1)^L. So only pairs of
elements Z_i ≤ Z_j have coefficients, tied to each other where Z_i = Z_j: c_k' = (−1)^L c_k. See Slater and Koster,
Phys. Rev. 94, 1498 (1954).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import solve

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.reference import Reference
from nearsight.baselines.settings import BaselineSettings
from nearsight.operators.blocks import ElementPair
from nearsight.orbitals.rotations import harmonic_values


@dataclass(frozen=True, eq=False)
class TwoCentre:
    """Two-centre terms of the known pairs of elements.

    Attributes
    ----------
    table : IrrepTable
        The K irreps.
    radial : RadialFunctions
        R_b.
    coefficients : mapping of (int, int) to (radial.count, K) array of float64
        (Z_i ≤ Z_j) → c, E_h; zero where a pair has no such irrep.
    """

    table: IrrepTable
    radial: RadialFunctions
    coefficients: Mapping[ElementPair, np.ndarray]

    def __call__(self, pair: ElementPair, vectors: np.ndarray) -> np.ndarray:
        """Predict the blocks of bonds.

        Parameters
        ----------
        pair : (int, int)
            Z_i ≤ Z_j.
        vectors : (n, 3) array of float
            From an atom Z_i to an atom Z_j, Å.

        Returns
        -------
        (n, size) array of float64
            Coupled blocks, E_h.
        """
        functions = self.radial(np.linalg.norm(vectors, axis=1)) @ self.coefficients[pair]
        harmonics = harmonic_values(vectors, self.table.layout.l_max)
        return functions[:, self.table.irrep_of_column] * harmonics[:, self.table.harmonic_of_column]


@dataclass(eq=False)
class _Sums:
    """Normal equations of one pair of elements: Σ RᵀR, Σ Rᵀ(Y·H), number of bonds."""

    gram: np.ndarray
    moment: np.ndarray
    count: int = 0


@dataclass(eq=False)
class TwoCentreFit:
    """Least squares over the bonds of any number of structures.

    Attributes
    ----------
    table : IrrepTable
        The K irreps.
    radial : RadialFunctions
        R_b.
    settings : BaselineSettings
        Penalties.
    """

    table: IrrepTable
    radial: RadialFunctions
    settings: BaselineSettings
    _sums: dict[ElementPair, _Sums] = field(default_factory=dict)

    def add(self, reference: Reference) -> None:
        """Count the bonds of a structure.

        Parameters
        ----------
        reference : Reference
            Its blocks.
        """
        table, count = self.table, self.radial.count
        for pair, edges, blocks in reference.edges():
            vectors = reference.graph.vector[edges]
            values = self.radial(np.linalg.norm(vectors, axis=1))
            harmonics = harmonic_values(vectors, table.layout.l_max)
            along = np.add.reduceat(blocks * harmonics[:, table.harmonic_of_column], table.start, axis=1)
            sums = self._sums.setdefault(pair, _Sums(np.zeros((count, count)), np.zeros((count, len(table.start)))))
            sums.gram += values.T @ values
            sums.moment += values.T @ along
            sums.count += len(edges)

    def solve(self) -> TwoCentre:
        """Return the terms of all pairs of elements that were met."""
        return TwoCentre(self.table, self.radial, {pair: self._solve(pair) for pair in sorted(self._sums)})

    def _solve(self, pair: ElementPair) -> np.ndarray:
        sums, settings, table = self._sums[pair], self.settings, self.table
        unit = max(np.trace(sums.gram) / self.radial.count, np.finfo(float).eps)
        penalty = settings.pair_bending * self.radial.bending() + settings.pair_ridge * np.eye(self.radial.count)
        result = solve(sums.gram + unit * penalty, sums.moment * table.filled(*pair), assume_a="pos")
        if pair[0] == pair[1]:
            result = (result + (-1.0) ** table.degree * result[:, table.exchanged]) / 2
        return np.ascontiguousarray(result)
