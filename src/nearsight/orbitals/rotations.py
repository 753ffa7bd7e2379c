"""Rotations of real spherical harmonics (Wigner D matrices) and of orbital blocks.

Real harmonics run over m = −l..l with the polar axis z and no Condon-Shortley phase, so l = 1 is (y, z, x). Every D^l
is built from the rotation matrix itself by coupling D^1 ⊗ D^(l−1) → D^l: exact, without Euler angles or tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupling import coupling

AXES = (1, 2, 0)
"""(x, y, z) taken in this order is (y, z, x), the harmonics of l = 1."""


def wigner_d(rotation: np.ndarray, l_max: int) -> list[np.ndarray]:
    """Compute the Wigner matrices D^0 … D^l_max of rotations.

    Parameters
    ----------
    rotation : (..., 3, 3) array of float
        Orthogonal matrices acting on (x, y, z). An improper one (determinant −1) gives the action on functions of
        parity (−1)^l.
    l_max : int
        Highest degree.

    Returns
    -------
    list of (..., 2l+1, 2l+1) array of float64
        For each l, D^l with Y_l(rotation @ r) = D^l Y_l(r).
    """
    rotation = np.asarray(rotation, dtype=np.float64)
    first = rotation[..., AXES, :][..., :, AXES]
    result = [np.ones((*rotation.shape[:-2], 1, 1))]
    if l_max >= 1:
        result.append(np.ascontiguousarray(first))
    for l in range(2, l_max + 1):
        half = np.einsum("abM,...bd->...aMd", coupling(1, l - 1, l), result[-1], optimize=True)
        full = np.einsum("...aMd,...ac->...Mcd", half, first, optimize=True)
        result.append(np.einsum("...Mcd,cdN->...MN", full, coupling(1, l - 1, l), optimize=True))
    return result


def spherical_harmonics(vectors: np.ndarray, l_max: int) -> list[np.ndarray]:
    """Evaluate real spherical harmonics, normalised so that Σ_m Y_lm² = 1.

    Parameters
    ----------
    vectors : (..., 3) array of float
        Vectors of any length but 0; only their directions count.
    l_max : int
        Highest degree.

    Returns
    -------
    list of (..., 2l+1) array of float64
        Y_0 … Y_l_max.
    """
    unit = np.asarray(vectors, dtype=np.float64)
    unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    first = unit[..., AXES]
    result = [np.ones((*unit.shape[:-1], 1))]
    if l_max >= 1:
        result.append(np.ascontiguousarray(first))
    for l in range(2, l_max + 1):
        product = np.einsum("...a,...b,abM->...M", first, result[-1], coupling(1, l - 1, l), optimize=True)
        result.append(product / _polar_norm(l))
    return result


@cache
def _polar_norm(l: int) -> float:
    """The factor by which coupling Y_1 ⊗ Y_(l−1) → l scales the m = 0 component on the polar axis."""
    return float(coupling(1, l - 1, l)[1, l - 1, l])


def bond_frames(vectors: np.ndarray) -> np.ndarray:
    """Return rotations that take the direction of each vector to +z.

    The rotation about the bond is fixed by the Cartesian axis least parallel to it. A network of SO(2) convolutions
    does not see that choice.

    Parameters
    ----------
    vectors : (..., 3) array of float
        Vectors of any length but 0.

    Returns
    -------
    (..., 3, 3) array of float64
        Proper rotations.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    z = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    helper = np.eye(3)[np.argmin(np.abs(z), axis=-1)]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-2)


def orbital_frames(basis: BasisSet, number: int, frames: Sequence[np.ndarray]) -> np.ndarray:
    """Assemble the rotations of all orbitals of an element's atoms, a matrix for each frame.

    Parameters
    ----------
    basis : BasisSet
        Shells of the element.
    number : int
        Atomic number.
    frames : sequence of (e, 2l+1, 2l+1) array
        D^0, D^1, … up to the highest l of the element's shells.

    Returns
    -------
    (e, n, n) array
        Block-diagonal rotations.
    """
    size = basis.n_orbitals(number)
    result = np.zeros((len(frames[0]), size, size), dtype=frames[0].dtype)
    for l, start in zip(basis.shells[number], basis.shell_offsets(number)):
        result[:, start : start + 2 * l + 1, start : start + 2 * l + 1] = frames[l]
    return result


def atom_rotation(basis: BasisSet, number: int, rotation: np.ndarray) -> np.ndarray:
    """Return the rotation D_i of all orbitals of one atom, with which H'_ij = D_i H_ij D_jᵀ.

    Parameters
    ----------
    basis : BasisSet
        Shells of the element.
    number : int
        Atomic number.
    rotation : (3, 3) array of float
        An orthogonal matrix acting on (x, y, z).

    Returns
    -------
    (n, n) array of float64
        Block-diagonal in the shells.
    """
    d = wigner_d(rotation, max(basis.shells[number]))
    size = basis.n_orbitals(number)
    result = np.zeros((size, size))
    for l, start in zip(basis.shells[number], basis.shell_offsets(number)):
        result[start : start + 2 * l + 1, start : start + 2 * l + 1] = d[l]
    return result
