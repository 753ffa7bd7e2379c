"""Products of two densities of an atom: what its neighbours are like in pairs, angles between bonds included.

    P_i[a b l₁ l₂, LM] = Σ_m₁m₂ C^LM_l₁m₁,l₂m₂ A_i[a, l₁m₁] A_i[b, l₂m₂]

for 1 ≤ l₁ ≤ l₂ with l₁ + l₂ + L even, the parity that an on-site block has. Each pair of densities counts once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.orbitals.coupling import coupling

SCALE = 10.0
"""Products vary by a tenth of what densities do, and the regression takes features to be alike."""


def degree_pairs(degree: int, l_max: int) -> list[tuple[int, int]]:
    """(l₁, l₂) of the products of one degree."""
    return [(a, b) for a in range(1, l_max + 1) for b in range(a, l_max + 1)
            if b - a <= degree <= a + b and (a + b + degree) % 2 == 0]


def count_products(n_densities: int, degree: int, l_max: int) -> int:
    """Products of one degree for each atom."""
    return sum(n_densities * (n_densities + 1) // 2 if a == b else n_densities**2
               for a, b in degree_pairs(degree, l_max))


def density_products(densities: Sequence[np.ndarray], degree: int) -> np.ndarray:
    """(N, count_products, 2·degree+1) from densities (N, n, 2l+1) for each l = 0 … l_max."""
    n_atoms, n = densities[0].shape[:2]
    parts = [np.zeros((n_atoms, 0, 2 * degree + 1))]
    for a, b in degree_pairs(degree, len(densities) - 1):
        halfway = SCALE * np.tensordot(densities[a], coupling(a, b, degree), axes=(2, 0)).transpose(0, 1, 3, 2)
        product = halfway.reshape(n_atoms, -1, 2 * b + 1) @ densities[b].transpose(0, 2, 1)
        product = product.reshape(n_atoms, n, 2 * degree + 1, n).transpose(0, 1, 3, 2)
        first, second = np.triu_indices(n) if a == b else np.indices((n, n)).reshape(2, -1)
        parts.append(product[:, first, second])
    return np.concatenate(parts, axis=1)
