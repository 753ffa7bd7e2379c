"""Last-layer uncertainty: expected errors of a prediction, block by block, and atoms that are out-of-distribution.

The last map of a pair's network is linear in its hidden values z. A Laplace approximation of the last layer, as in
Bayesian linear regression, makes the variance of an error grow with how far z lies from those of training. Its leverage
q is, up to a factor, the inverse of the last-layer prediction rigidity (LLPR) of Bigi, Chong, Ceriotti and
Grasselli [1]_:

    σ² = t(r)² (c0 + c1 q),   q = zᵀ A⁻¹ z / dim z,   A = mean of z zᵀ over the training bonds (+ a small ridge).

t is the r.m.s. error of the training bonds, a smooth function of their length; c0 and c1 of every block are calibrated
on the validation bonds. On-site errors grow likewise with the leverage of an atom's densities among those of its
element. An atom is out-of-distribution if its q exceeds the leave-one-out q of every training atom.

References
----------
.. [1] F. Bigi, S. Chong, M. Ceriotti, F. Grasselli, "A prediction rigidity formalism for low-cost uncertainties in
   trained neural networks", Mach. Learn.: Sci. Technol. 5 (2024) 045018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.residual_scale import scale_at
from nearsight.nn.architectures.nearsight.graph import Bonds, ElementPair
from nearsight.nn.architectures.nearsight.network import NearsightNetwork, name

RIDGE = 1e-3
"""Ridge relative to the mean diagonal of A."""


@dataclass(frozen=True, eq=False)
class LastLayerUncertainty:
    """Last-layer Laplace approximation (last-layer prediction rigidity) of one model, calibrated.

    Attributes
    ----------
    inverse_factors : mapping of ElementPair to list of ndarray
        (width, width) for every hidden block of a pair Z_i ≤ Z_j: L⁻¹ with L Lᵀ = A, so that q = |L⁻¹ z|² / width.
    calibration : mapping of ElementPair to ndarray
        (blocks, 2), c0 and c1.
    centres : ndarray
        (G,) Å, distances at which the profiles are given.
    rms_profiles : mapping of ElementPair to ndarray
        (G, blocks), t in units of the outputs.
    atom_inverse_factors : list of ndarray
        (F, F) for every element (by position), likewise for the atoms' scalars and isotropic densities.
    atom_threshold : ndarray
        (elements,), the largest leave-one-out q of a training atom.
    atom_counts : ndarray
        (elements,), numbers of atoms trained on.
    mean_to_rms : float
        Mean |error| of matrix elements over the r.m.s. errors expected of their blocks, on the validation bonds.
    on_site_mean_to_rms : float
        Mean |error| over r.m.s. error of on-site blocks, of training atoms.
    """

    inverse_factors: Mapping[ElementPair, list[np.ndarray]]
    calibration: Mapping[ElementPair, np.ndarray]
    centres: np.ndarray
    rms_profiles: Mapping[ElementPair, np.ndarray]
    atom_inverse_factors: list[np.ndarray]
    atom_threshold: np.ndarray
    atom_counts: np.ndarray
    mean_to_rms: float
    on_site_mean_to_rms: float

    def bond_variances(
        self, network: NearsightNetwork, hidden: Sequence[Tensor], pair: ElementPair, bonds: Bonds
    ) -> np.ndarray:
        """Return the expected squares of the errors of the outputs of bonds.

        Parameters
        ----------
        network : NearsightNetwork
            The network.
        hidden : sequence of Tensor
            (e, components, width) for each block, the last hidden values (`NearsightNetwork.outputs_and_hidden`).
        pair : ElementPair
            The pair of elements.
        bonds : Bonds
            Its bonds.

        Returns
        -------
        ndarray
            (e, width) in squared units of the outputs; NaN for a pair of elements that the last training had no bonds
            of.
        """
        if pair not in self.inverse_factors:
            return np.full((len(bonds), network.layouts[pair].width), np.nan)
        profile = self.profile(pair, bonds)
        parts = []
        for k, (z, inverse_factor, block) in enumerate(
            zip(hidden, self.inverse_factors[pair], network.pair(pair).blocks)
        ):
            c0, c1 = self.calibration[pair][k]
            squares = profile[:, k] ** 2 * (c0 + c1 * leverage(z, inverse_factor))
            parts.append(np.repeat(squares[:, None], block.components * block.outputs, axis=1))
        return np.concatenate(parts, axis=1)

    def profile(self, pair: ElementPair, bonds: Bonds) -> np.ndarray:
        """Return the r.m.s. errors t of training bonds of the same lengths.

        Parameters
        ----------
        pair : ElementPair
            The pair of elements.
        bonds : Bonds
            Its bonds.

        Returns
        -------
        ndarray
            (e, blocks) in units of the outputs.
        """
        return scale_at(self.centres, self.rms_profiles[pair], bonds.distance.double().cpu().numpy())

    def atom_leverage(self, descriptors: np.ndarray, element: np.ndarray) -> np.ndarray:
        """Return the leverage q of atoms.

        Parameters
        ----------
        descriptors : ndarray
            (N, F), what `NearsightNetwork.descriptors` returns.
        element : ndarray
            (N,) int64, position of each atom's element.

        Returns
        -------
        ndarray
            (N,).
        """
        q = np.empty(len(element))
        for k, inverse_factor in enumerate(self.atom_inverse_factors):
            own = element == k
            q[own] = ((descriptors[own] @ inverse_factor.T) ** 2).mean(axis=1)
        return q

    def out_of_distribution(self, q: np.ndarray, element: np.ndarray) -> np.ndarray:
        """Return which atoms are in environments unlike those of training.

        Parameters
        ----------
        q : ndarray
            (N,), what `atom_leverage` returns.
        element : ndarray
            (N,) int64, position of each atom's element.

        Returns
        -------
        ndarray
            (N,) bool.
        """
        return q > self.atom_threshold[element]

    def on_site_inflation(self, q: np.ndarray, element: np.ndarray) -> np.ndarray:
        """Return the factor by which the r.m.s. error of on-site blocks exceeds the usual one.

        Parameters
        ----------
        q : ndarray
            (N,), what `atom_leverage` returns.
        element : ndarray
            (N,) int64, position of each atom's element.

        Returns
        -------
        ndarray
            (N,) √((1 + h)/(1 + h̄)) with h = q F / n, for n atoms of the element in training.
        """
        dimension = np.array([inverse_factor.shape[0] for inverse_factor in self.atom_inverse_factors])[element]
        weight = dimension / self.atom_counts[element]
        return np.asarray(np.sqrt((1 + q * weight) / (1 + weight)))


def leverage(z: Tensor, inverse_factor: np.ndarray) -> np.ndarray:
    """Return the leverage q of hidden values.

    Parameters
    ----------
    z : Tensor
        (e, components, width) hidden values of a block.
    inverse_factor : ndarray
        (width, width), L⁻¹ with L Lᵀ = A.

    Returns
    -------
    ndarray
        (e,) |L⁻¹ z|² / width, mean over components.
    """
    turned = z.double() @ torch.as_tensor(inverse_factor.T, dtype=torch.float64, device=z.device)
    return turned.square().mean(dim=(1, 2)).cpu().numpy()


def inverse_cholesky(second_moment: np.ndarray) -> np.ndarray:
    """Return L⁻¹ with L Lᵀ = A, the second moment with its ridge (`RIDGE`)."""
    size = len(second_moment)
    ridge = RIDGE * max(np.trace(second_moment) / max(size, 1), 1e-12)
    factor = np.linalg.cholesky(second_moment + ridge * np.eye(size))
    return np.asarray(np.linalg.solve(factor, np.eye(size)))


def to_arrays(uncertainty: LastLayerUncertainty) -> dict[str, np.ndarray]:
    """Return the numbers of an uncertainty as float64 arrays by name, as model files hold them."""
    arrays = {
        "atom_limit": uncertainty.atom_threshold,
        "atom_count": uncertainty.atom_counts,
        "ratio": np.array([uncertainty.mean_to_rms, uncertainty.on_site_mean_to_rms]),
    }
    arrays |= {"distances": uncertainty.centres}
    arrays |= {f"profile.{name(pair)}": profile for pair, profile in uncertainty.rms_profiles.items()}
    arrays |= {f"atom_root.{k}": inverse_factor for k, inverse_factor in enumerate(uncertainty.atom_inverse_factors)}
    for pair, inverse_factors in uncertainty.inverse_factors.items():
        arrays[f"calibration.{name(pair)}"] = uncertainty.calibration[pair]
        arrays |= {f"root.{name(pair)}.{k}": inverse_factor for k, inverse_factor in enumerate(inverse_factors)}
    return {key: np.ascontiguousarray(value, dtype=np.float64) for key, value in arrays.items()}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> LastLayerUncertainty:
    """Return the uncertainty whose numbers `to_arrays` gave.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays by name.

    Returns
    -------
    LastLayerUncertainty
        The uncertainty.

    Raises
    ------
    KeyError
        An array is missing.
    """
    inverse_factors: dict[ElementPair, list[np.ndarray]] = {}
    calibration: dict[ElementPair, np.ndarray] = {}
    for key, array in arrays.items():
        if key.startswith("calibration."):
            first, second = (int(z) for z in key.removeprefix("calibration.").split("-"))
            calibration[first, second] = array
            count = len(array)
            inverse_factors[first, second] = [arrays[f"root.{first}-{second}.{k}"] for k in range(count)]
    atoms = [arrays[f"atom_root.{k}"] for k in range(len(arrays["atom_limit"]))]
    rms_profiles = {pair: arrays[f"profile.{name(pair)}"] for pair in calibration}
    return LastLayerUncertainty(
        inverse_factors,
        calibration,
        arrays["distances"],
        rms_profiles,
        atoms,
        arrays["atom_limit"],
        arrays["atom_count"],
        *(float(x) for x in arrays["ratio"]),
    )
