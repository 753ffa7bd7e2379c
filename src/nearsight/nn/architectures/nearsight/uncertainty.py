"""Uncertainty: how large the errors of a prediction are expected to be, block by block, and which atoms are strange.

The last map of a pair's network is linear in its hidden values z. As in Bayesian linear regression (a Laplace
approximation of the last layer), the expected square of an error grows with how far z lies from those of training:

    σ² = t(r)² (c0 + c1 q),   q = zᵀ A⁻¹ z / dim z,   A = mean of z zᵀ over the training bonds (+ a small ridge).

t is the r.m.s. error of the training bonds, a smooth function of their length; c0 and c1 of every block are calibrated
on bonds that were held out. On-site errors grow likewise with the leverage of
an atom's densities among those of its element. An atom is strange if its q exceeds that of every training atom, each
judged as if it had not been seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.residual_scale import scale_at
from nearsight.nn.architectures.nearsight.graph import Bonds, ElementPair
from nearsight.nn.architectures.nearsight.network import NearsightNetwork, name

RIDGE = 1e-3
"""Relative to the mean diagonal of A."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Calibrated for one model.

    Attributes:
        roots: (Z_i ≤ Z_j) → for every hidden block (width, width), q = |root z|² / width.
        calibration: (Z_i ≤ Z_j) → (blocks, 2), c0 and c1.
        centres: (G,) Å.
        profiles: (Z_i ≤ Z_j) → (G, blocks), t in units of the outputs.
        atom_roots: by element (position), (F, F), likewise for the atoms' scalars and isotropic densities.
        atom_limit: (elements,), the largest q of a training atom as if unseen.
        atom_count: (elements,), atoms trained on.
        ratio: mean |error| of matrix elements over the r.m.s. errors expected of their blocks, on the held-out bonds.
        on_site_ratio: mean |error| over r.m.s. error of on-site blocks, of training atoms.
    """

    roots: Mapping[ElementPair, list[np.ndarray]]
    calibration: Mapping[ElementPair, np.ndarray]
    centres: np.ndarray
    profiles: Mapping[ElementPair, np.ndarray]
    atom_roots: list[np.ndarray]
    atom_limit: np.ndarray
    atom_count: np.ndarray
    ratio: float
    on_site_ratio: float

    def bond_squares(self, network: NearsightNetwork, features: Tensor, pair: ElementPair, bonds: Bonds) -> np.ndarray:
        """(e, width) expected squares of the errors of the outputs of bonds; NaN for a pair of elements that the last
        training had no bonds of."""
        if pair not in self.roots:
            return np.full((len(bonds), network.layouts[pair].width), np.nan)
        hidden = network.hidden(features, pair, bonds)
        profile = self.profile(pair, bonds)
        parts = []
        for k, (z, root, block) in enumerate(zip(hidden, self.roots[pair], network.pair(pair).blocks)):
            c0, c1 = self.calibration[pair][k]
            squares = profile[:, k] ** 2 * (c0 + c1 * leverage(z, root))
            parts.append(np.repeat(squares[:, None], block.components * block.outputs, axis=1))
        return np.concatenate(parts, axis=1)

    def profile(self, pair: ElementPair, bonds: Bonds) -> np.ndarray:
        """(e, blocks) t of bonds."""
        return scale_at(self.centres, self.profiles[pair], bonds.distance.double().cpu().numpy())

    def atom_leverage(self, descriptors: np.ndarray, element: np.ndarray) -> np.ndarray:
        """(N,) q of atoms from their descriptors (N, F)."""
        q = np.empty(len(element))
        for k, root in enumerate(self.atom_roots):
            own = element == k
            q[own] = ((descriptors[own] @ root.T) ** 2).mean(axis=1)
        return q

    def out_of_distribution(self, q: np.ndarray, element: np.ndarray) -> np.ndarray:
        """(N,) bool: atoms in environments unlike those of training."""
        return q > self.atom_limit[element]

    def on_site_growth(self, q: np.ndarray, element: np.ndarray) -> np.ndarray:
        """(N,) factor of the r.m.s. error of on-site blocks, √((1 + h)/(1 + h̄)) with h = q F / n."""
        dimension = np.array([root.shape[0] for root in self.atom_roots])[element]
        weight = dimension / self.atom_count[element]
        return np.asarray(np.sqrt((1 + q * weight) / (1 + weight)))


def leverage(z: Tensor, root: np.ndarray) -> np.ndarray:
    """(e,) |root z|²/width, mean over components, of hidden values (e, components, width)."""
    turned = z.double() @ torch.as_tensor(root.T, dtype=torch.float64, device=z.device)
    return turned.square().mean(dim=(1, 2)).cpu().numpy()


def inverse_root(second_moment: np.ndarray) -> np.ndarray:
    """L⁻¹ with L Lᵀ = A, the second moment with its ridge."""
    size = len(second_moment)
    ridge = RIDGE * max(np.trace(second_moment) / max(size, 1), 1e-12)
    factor = np.linalg.cholesky(second_moment + ridge * np.eye(size))
    return np.asarray(np.linalg.solve(factor, np.eye(size)))


def to_arrays(uncertainty: Uncertainty) -> dict[str, np.ndarray]:
    """Float64 arrays by name."""
    arrays = {
        "atom_limit": uncertainty.atom_limit,
        "atom_count": uncertainty.atom_count,
        "ratio": np.array([uncertainty.ratio, uncertainty.on_site_ratio]),
    }
    arrays |= {"distances": uncertainty.centres}
    arrays |= {f"profile.{name(pair)}": profile for pair, profile in uncertainty.profiles.items()}
    arrays |= {f"atom_root.{k}": root for k, root in enumerate(uncertainty.atom_roots)}
    for pair, roots in uncertainty.roots.items():
        arrays[f"calibration.{name(pair)}"] = uncertainty.calibration[pair]
        arrays |= {f"root.{name(pair)}.{k}": root for k, root in enumerate(roots)}
    return {key: np.ascontiguousarray(value, dtype=np.float64) for key, value in arrays.items()}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Uncertainty:
    """What `to_arrays` took apart; KeyError where something is missing."""
    roots: dict[ElementPair, list[np.ndarray]] = {}
    calibration: dict[ElementPair, np.ndarray] = {}
    for key, array in arrays.items():
        if key.startswith("calibration."):
            first, second = (int(z) for z in key.removeprefix("calibration.").split("-"))
            calibration[first, second] = array
            count = len(array)
            roots[first, second] = [arrays[f"root.{first}-{second}.{k}"] for k in range(count)]
    atoms = [arrays[f"atom_root.{k}"] for k in range(len(arrays["atom_limit"]))]
    profiles = {pair: arrays[f"profile.{name(pair)}"] for pair in calibration}
    return Uncertainty(
        roots,
        calibration,
        arrays["distances"],
        profiles,
        atoms,
        arrays["atom_limit"],
        arrays["atom_count"],
        *(float(x) for x in arrays["ratio"]),
    )
