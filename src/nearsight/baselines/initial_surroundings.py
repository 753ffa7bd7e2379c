"""What the on-site regression knows about an atom where H₀ and S are known too.

In a first round the irreps of H₀'s own on-site block, besides the densities of the neighbours; in a second one also the
overlap products, which carry the first round's answer from the neighbours to the atom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import Surroundings
from nearsight.baselines.overlap_products import PER_ELEMENT

Features = tuple[np.ndarray, ...]

SCALE = 10.0
"""What comes from H₀ varies by a tenth of what densities do, and the regression takes features to be alike."""


@dataclass(frozen=True)
class FirstRound(Surroundings):
    """The densities of the neighbours, and the irreps of H₀'s own on-site block."""

    def penalties(self, degree: int) -> np.ndarray:
        """(F_l,), those of H₀ included."""
        return np.append(super().penalties(degree), np.ones(len(irreps_once(self.table, degree))))


@dataclass(frozen=True)
class SecondRound(FirstRound):
    """The same, and the overlap products."""

    def penalties(self, degree: int) -> np.ndarray:
        """(F_l,), those of the products included."""
        n_products = PER_ELEMENT * len(self.table.layout.elements)
        return np.append(super().penalties(degree), np.ones(n_products * len(irreps_once(self.table, degree))))


def with_blocks(table: IrrepTable, features: Features, blocks: np.ndarray) -> Features:
    """Features (N, F_l, 2l+1) of all degrees, the irreps of further blocks added to those at hand.

    Args:
        table: the irreps.
        features: for each degree.
        blocks: (N, B, size) coupled symmetric on-site blocks.
    """
    result = []
    for degree, part in enumerate(features):
        irreps = irreps_once(table, degree)
        if len(irreps):
            own = SCALE * blocks[:, :, table.columns(irreps)]
            part = np.concatenate([part, own.reshape(len(own), -1, 2 * degree + 1)], axis=1)
        result.append(part)
    return tuple(result)


def irreps_once(table: IrrepTable, degree: int) -> np.ndarray:
    """Natural irreps of any element's on-site block, each once; elements without one have zeros there."""
    filled = np.any([table.filled(z, z) for z in table.layout.elements], axis=0)
    once = np.arange(len(table.degree)) <= table.exchanged
    return np.flatnonzero(filled & once & (table.degree == degree))
