"""Rotations of real spherical harmonics (Wigner D matrices) and of orbital blocks.

Real harmonics run over m = −l..l with the polar axis z and no Condon-Shortley phase, so l = 1 is (y, z, x). Every D^l
is built from the rotation matrix itself by coupling D^1 ⊗ D^(l−1) → D^l: exact, without Euler angles or tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.harmonic_loops import coupling_terms, harmonic_terms, harmonics, wigner

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
    sizes = [2 * l + 1 for l in range(l_max + 1)]
    rows = wigner_rows(rotation.reshape(-1, 3, 3), l_max)
    parts = np.split(rows, np.cumsum([n * n for n in sizes])[:-1], axis=1)
    return [part.reshape(*rotation.shape[:-2], n, n) for part, n in zip(parts, sizes)]


def wigner_rows(rotations: np.ndarray, l_max: int) -> np.ndarray:
    """Compute the Wigner matrices of rotations, row by row side by side.

    Parameters
    ----------
    rotations : (n, 3, 3) array of float
        Orthogonal matrices, as in `wigner_d`.
    l_max : int
        Highest degree.

    Returns
    -------
    (n, Σ_l (2l+1)²) array of float64
        D^0, D^1, … of each rotation, one after another.
    """
    rotations = np.ascontiguousarray(rotations, dtype=np.float64)
    rows = np.empty((len(rotations), sum((2 * l + 1) ** 2 for l in range(l_max + 1))))
    wigner(rotations, l_max, coupling_terms(l_max), rows)
    return rows


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
    vectors = np.asarray(vectors, dtype=np.float64)
    values = harmonic_values(vectors.reshape(-1, 3), l_max)
    parts = [values[:, l * l : (l + 1) ** 2] for l in range(l_max + 1)]
    return [part.reshape(*vectors.shape[:-1], 2 * l + 1) for l, part in enumerate(parts)]


def harmonic_values(vectors: np.ndarray, l_max: int) -> np.ndarray:
    """Evaluate real spherical harmonics of all degrees, side by side.

    Parameters
    ----------
    vectors : (n, 3) array of float
        Vectors of any length but 0.
    l_max : int
        Highest degree.

    Returns
    -------
    (n, (l_max+1)²) array of float64
        Y_0 … Y_l_max, as of `spherical_harmonics`.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float64)
    values = np.empty((len(vectors), (l_max + 1) ** 2))
    harmonics(vectors, l_max, harmonic_terms(l_max), values)
    return values


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
