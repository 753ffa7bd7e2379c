"""1/d of Gaussian charges and its slope, whole and the part that decays fast."""

from __future__ import annotations

import numpy as np
from scipy.special import erf, erfc

ROOT = np.sqrt(2 / np.pi)


def gaussian_coulomb(distance: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """erf(d / √2 w) / d and minus its derivative; 1/d and 1/d² where w = 0."""
    inverse = 1 / distance
    smeared = width > 0
    if not smeared.any():
        return inverse, inverse**2
    u = distance / np.where(smeared, width, 1.0)
    value = np.where(smeared, erf(u / np.sqrt(2)), 1.0) * inverse
    tail = np.where(smeared, ROOT * np.exp(-u**2 / 2) * u, 0.0)
    return value, (value - tail * inverse) * inverse


def short_coulomb(distance: np.ndarray, split: float, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """erf(d / √2 w) / d − erf(d / √2 split) / d and minus its derivative: what a sum over waves leaves."""
    far, far_slope = _complement(distance, np.full(len(distance), split))
    if not (width > 0).any():
        return far, far_slope
    near, near_slope = _complement(distance, width)
    return far - near, far_slope - near_slope


def _complement(distance: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """erfc(d / √2 w) / d and minus its derivative; zero where w = 0."""
    smeared = width > 0
    u = np.where(smeared, distance / np.where(smeared, width, 1.0), np.inf)
    value = erfc(u / np.sqrt(2)) / distance
    tail = np.where(smeared, ROOT * np.exp(-u**2 / 2) / np.where(smeared, width, 1.0), 0.0)
    return value, (value + tail) / distance
