"""Edge terms: what self-consistency changes in the blocks of edges, linear in H₀, S and the on-site change.

With D_i = H_ii − H₀_ii, known from the on-site regression, for every irrep k of the block

    H_ij ≈ H₀_ij + a_k(r) H₀_ij + b_k(r) S_ij + c_k(r) D_i S_ij + d_k(r) S_ij D_j,

all on the right taken as coupled vectors. A smooth change of the potential is a mean of D_i and D_j over the overlap of
both orbitals; the coefficients correct this. All irreps take part, those of unnatural parity too. Transposing exchanges
c and d, so they are tied for equal elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.linalg import solve

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.settings import BaselineSettings
from nearsight.operators.blocks import ElementPair

KINDS = ("H0", "S", "D S", "S D")
"""The four vectors of an edge, in the order of `edge_vectors`."""

TRANSPOSED_KINDS = np.array([0, 1, 3, 2])
"""Which of them each becomes in the transposed block."""

ROUNDING = 1e-7
"""Relative to the size in the largest irrep; a kind below it is rounding, as S is in irreps of unnatural parity."""


@dataclass(frozen=True)
class PartitionOfUnitySplines:
    """Cubic B-splines of distance that sum to 1 up to the cutoff and are not zero there, as H₀ and S are not.

    Attributes
    ----------
    cutoff : float
        Å; all functions are zero beyond.
    intervals : int
        Number of intervals; there are 3 more functions.
    """

    cutoff: float
    intervals: int

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Evaluate all functions, (n, count), at distances (n,) in Å; they are zero from the cutoff on."""
        longer = RadialFunctions(self.cutoff * self.count / self.intervals, self.count)
        return longer(distance) * (np.asarray(distance) < self.cutoff)[:, None]

    @property
    def count(self) -> int:
        """Number of functions."""
        return self.intervals + 3

    def slopes(self) -> np.ndarray:
        """Return the (count, count) matrix P with cᵀPc = Σ (c_k − c_{k+1})².

        It is zero for coefficients that do not depend on distance.
        """
        differences = np.diff(np.eye(self.count), axis=0)
        return differences.T @ differences


@dataclass(frozen=True, eq=False)
class H0EdgeTerms:
    """Edge terms of the known pairs of elements.

    Attributes
    ----------
    table : IrrepTable
        The K irreps.
    radial : PartitionOfUnitySplines
        B functions of distance.
    coefficients : mapping of (int, int) to (B, 4, K) array of float64
        (Z_i ≤ Z_j) → coefficients of the four kinds of vectors; zero where a pair has no such irrep.
    energy_references : (structures,) array of float64
        E_h, μ of H − μS of each structure that was fitted, see `nearsight.baselines.reference`. A prediction has their
        mean, 0.
    """

    table: IrrepTable
    radial: PartitionOfUnitySplines
    coefficients: Mapping[ElementPair, np.ndarray]
    energy_references: np.ndarray

    def __call__(self, pair: ElementPair, vectors: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Predict the blocks of edges.

        Parameters
        ----------
        pair : (int, int)
            Z_i ≤ Z_j.
        vectors : (4, n, size) array of float
            The `edge_vectors`, E_h.
        distance : (n,) array of float
            Å.

        Returns
        -------
        (n, size) array of float64
            Coupled blocks, E_h.
        """
        near = (np.asarray(distance) < self.radial.cutoff)[:, None]
        radial = self.radial(distance)
        result = vectors[0] * near
        for kind, vector in enumerate(vectors):
            factors = radial @ self.coefficients[pair][:, kind]
            result += factors[:, self.table.irrep_of_column] * vector
        return np.asarray(result)


def edge_vectors(
    table: IrrepTable,
    pair: ElementPair,
    h0: np.ndarray,
    overlap: np.ndarray,
    at_source: np.ndarray,
    at_target: np.ndarray,
) -> np.ndarray:
    """Return the four vectors of edges, of which edge terms are linear combinations.

    Parameters
    ----------
    table : IrrepTable
        The irreps.
    pair : (int, int)
        Z_i, Z_j.
    h0, overlap : (n, size) array of float
        Coupled blocks of H₀ (E_h) and S.
    at_source, at_target : (n, size) array of float
        Coupled D_i and D_j, E_h.

    Returns
    -------
    (4, n, size) array of float64
        Coupled H₀_ij, S_ij, D_i S_ij and S_ij D_j.
    """
    layout = table.layout
    s = layout.uncouple(overlap, *pair)
    left = layout.uncouple(at_source, pair[0], pair[0]) @ s
    right = s @ layout.uncouple(at_target, pair[1], pair[1])
    return np.stack([h0, overlap, layout.couple(left, *pair), layout.couple(right, *pair)])


@dataclass(eq=False)
class _Sums:
    """Normal equations of one pair of elements, for every irrep."""

    gram: np.ndarray
    moment: np.ndarray


@dataclass(eq=False)
class H0EdgeTermsFit:
    """Least squares over the edges of any number of structures.

    Attributes
    ----------
    table : IrrepTable
        The K irreps.
    cutoff : float
        Å.
    settings : BaselineSettings
        Number of functions and penalties.
    """

    table: IrrepTable
    cutoff: float
    settings: BaselineSettings
    _sums: dict[ElementPair, _Sums] = field(default_factory=dict)

    @cached_property
    def radial(self) -> PartitionOfUnitySplines:
        """The functions of distance."""
        return PartitionOfUnitySplines(self.cutoff, self.settings.h0_pieces)

    def add(self, pair: ElementPair, vectors: np.ndarray, distance: np.ndarray, change: np.ndarray) -> None:
        """Count edges, both directions where the elements are equal.

        Parameters
        ----------
        pair : (int, int)
            Z_i ≤ Z_j.
        vectors : (4, n, size) array of float
            The `edge_vectors`, E_h.
        distance : (n,) array of float
            Å.
        change : (n, size) array of float
            H_ij − H₀_ij, E_h.
        """
        radial, n_irreps = self.radial(distance).T, len(self.table.degree)
        width = len(radial) * len(KINDS)
        sums = self._sums.setdefault(pair, _Sums(np.zeros((n_irreps, width, width)), np.zeros((n_irreps, width))))
        for k in self._present(pair):
            columns = self.table.columns(np.array([k]))[0]
            features = radial[:, None, :, None] * vectors[None, :, :, columns]
            flat = features.reshape(width, -1)
            sums.gram[k] += flat @ flat.T
            sums.moment[k] += flat @ change[:, columns].reshape(-1)

    def solve(self, energy_references: np.ndarray) -> H0EdgeTerms:
        """Solve for the coefficients.

        Parameters
        ----------
        energy_references : (structures,) array of float
            μ of the structures, E_h, to be kept with the terms.

        Returns
        -------
        H0EdgeTerms
            The terms of all pairs of elements that were met.
        """
        return H0EdgeTerms(
            self.table, self.radial, {pair: self._solve(pair) for pair in sorted(self._sums)}, energy_references
        )

    def _solve(self, pair: ElementPair) -> np.ndarray:
        sums, count = self._sums[pair], self.radial.count
        result = np.zeros((count, len(KINDS), len(self.table.degree)))
        sizes = sums.gram.diagonal(axis1=1, axis2=2).reshape(len(sums.gram), count, len(KINDS)).mean(axis=1)
        for k in self._present(pair):
            known = sizes[k] > ROUNDING**2 * sizes.max(axis=0)
            result[:, :, k] = self._irrep(sums.gram[k], sums.moment[k], known) * known
        if pair[0] == pair[1]:
            result = (result + result[:, TRANSPOSED_KINDS][:, :, self.table.exchanged]) / 2
        return result

    def _irrep(self, gram: np.ndarray, moment: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(count, 4); each kind is penalised relative to its own size, those that are not known count for nothing."""
        count, kinds = self.radial.count, len(KINDS)
        use = np.tile(known, count)
        gram, moment = gram * np.outer(use, use), moment * use
        size = gram.diagonal().reshape(count, kinds).mean(axis=0)
        unit = np.sqrt(np.where(size > 0, size, 1.0))
        scale = np.tile(unit, count)
        per_kind = self.settings.h0_slope * self.radial.slopes() + self.settings.h0_ridge * np.eye(count)
        system = gram / np.outer(scale, scale) + np.kron(per_kind, np.eye(kinds))
        return np.asarray(solve(system, moment / scale, assume_a="pos") / scale).reshape(count, kinds)

    def _present(self, pair: ElementPair) -> np.ndarray:
        """The irreps that a block has, natural or not."""
        return np.flatnonzero(self.table.layout.mask(*pair)[self.table.start])
