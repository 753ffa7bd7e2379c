"""The size of a baseline's residual on a bond: r.m.s. per channel of the bond's frame, a smooth function of length.

Components |m| of one irrep have scales of their own: σ differs from π. Outputs of the network `nearsight` are in
these units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.reference import Reference
from nearsight.baselines.residual_scale import add_to_bins, bin_centres, scale_at, smoothed
from nearsight.operators.blocks import ElementPair
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.rotations import bond_frames, wigner_d


@dataclass(frozen=True, eq=False)
class BondScale:
    """Scales of the bonds of the known pairs of elements.

    Attributes
    ----------
    layouts : mapping of (int, int) to BondLayout
        (Z_i ≤ Z_j) → columns and channels.
    centres : (G,) array of float64
        Distances, Å, ascending.
    values : mapping of (int, int) to (G, channels) array of float64
        (Z_i ≤ Z_j) → scales, E_h, positive.
    """

    layouts: Mapping[ElementPair, BondLayout]
    centres: np.ndarray
    values: Mapping[ElementPair, np.ndarray]

    def __call__(self, pair: ElementPair, distance: np.ndarray) -> np.ndarray:
        """Return scales for the columns of the pair's layout, (n, width) in E_h, at distances (n,) in Å."""
        return scale_at(self.centres, self.values[pair], distance)[:, self.layouts[pair].channel_of_column]


def fit_bond_scale(calculations: Sequence[Calculation], baseline: Baseline) -> BondScale:
    """Measure the residuals of a baseline on the calculations it was fitted to.

    Parameters
    ----------
    calculations : sequence of Calculation
        With Hamiltonians, and with H₀ and S where the baseline starts from them.
    baseline : Baseline
        The fitted baseline.

    Returns
    -------
    BondScale
        Scales of all pairs of elements that occur.
    """
    centres, sums = bin_centres(baseline.cutoff), dict[ElementPair, np.ndarray]()
    layouts = dict[ElementPair, BondLayout]()
    for calculation in calculations:
        reference = Reference.of(calculation, baseline.layout, baseline.cutoff)
        h0 = baseline.h0_of(calculation)
        nodes = baseline.nodes(reference.structure, reference.graph, h0) if h0 else None
        for pair, edges, coupled in reference.edges():
            layout = layouts.setdefault(pair, BondLayout(baseline.layout, pair))
            vectors = reference.graph.vector[edges]
            residual = coupled - baseline.edges(reference.structure, reference.graph, edges, h0, nodes)
            blocks = baseline.layout.uncouple(residual, *pair)
            columns = layout.columns_of(blocks, wigner_d(bond_frames(vectors), max_shell(layout)))
            rows = np.column_stack([np.ones(len(edges)), channel_squares(layout, columns)])
            own = sums.setdefault(pair, np.zeros((len(centres), rows.shape[1])))
            add_to_bins(own, np.linalg.norm(vectors, axis=1), rows)
    return BondScale(layouts, centres, {pair: smoothed(own) for pair, own in sums.items()})


def channel_squares(layout: BondLayout, columns: np.ndarray) -> np.ndarray:
    """Return the mean of the squares of cos and sin of each channel.

    Parameters
    ----------
    layout : BondLayout
        Columns and channels.
    columns : (n, width) array of float
        Blocks in the frames of their bonds.

    Returns
    -------
    (n, channels) array of float
        In the squared unit of the columns.
    """
    parts = [columns[:, b.columns].reshape(len(columns), b.components, b.channels) for b in layout.blocks]
    return np.concatenate([(part**2).mean(axis=1) for part in parts], axis=1)


def max_shell(layout: BondLayout) -> int:
    """Return the highest l of the shells of both elements of a layout."""
    return max(l for z in layout.pair for l in layout.layout.basis.shells[z])
