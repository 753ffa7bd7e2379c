"""From matrices on a mesh of k-points to a real-space operator: blocks of every pair of atoms and cell vector R."""

from __future__ import annotations

import numpy as np
from ase.geometry import minkowski_reduce

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.symmetry import hermitian_part
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import pair_order
from nearsight.structures.structure import Structure

TIE = 1e-5
"""Å. Images of a pair whose distances differ by less share its block."""
IMAGINARY = 1e-6
"""Largest imaginary part of a block, relative to the largest element, that is rounding."""


def mesh_points(mesh: tuple[int, int, int]) -> np.ndarray:
    """Return the k-points of a mesh through Γ.

    Parameters
    ----------
    mesh : tuple of int
        The numbers of points n₁, n₂, n₃ along the reciprocal lattice vectors.

    Returns
    -------
    ndarray, shape (K, 3)
        The points in units of the reciprocal lattice vectors, in [0, 1), the third coordinate changing fastest.
    """
    return _cells(mesh) / np.asarray(mesh)


def to_real_space(
    matrices: np.ndarray, mesh: tuple[int, int, int], structure: Structure, basis: BasisSet
) -> BlockOperator:
    """Return H(R) = 1/K Σ_k exp(−2πi k·R) H(k), each pair at the images that are nearest.

    Matrices on K = n₁n₂n₃ k-points do not tell H(R) from H(R + T) with T a vector of the n₁ × n₂ × n₃ supercell (Born
    and von Kármán's cell). Of all R + T the block goes to the one with the shortest r_j + R·cell − r_i, so that the
    vectors of all pairs fill the supercell's Wigner-Seitz cell; images that are equally near share it equally. So H(k)
    is exact at every k of the mesh, an interpolation between them, and Hermitian everywhere.

    Parameters
    ----------
    matrices : ndarray, shape (K, n, n)
        Hermitian matrices at `mesh_points(mesh)`, in the package's order of orbitals, with H(−k) = H(k)*.
    mesh : tuple of int
        The numbers of k-points n₁, n₂, n₃.
    structure : Structure
        The atoms, with three periodic directions.
    basis : BasisSet
        The orbitals of each element.

    Returns
    -------
    BlockOperator
        The real-space operator, in the unit of the matrices.

    Raises
    ------
    InputError
        Where blocks are not real, so that the matrices are not those of real orbitals.
    """
    points = mesh_points(mesh)
    phase = np.exp(-2j * np.pi * (_cells(mesh) @ points.T)) / len(points)
    blocks = np.tensordot(phase, matrices, axes=(1, 0))
    imaginary = float(np.abs(blocks.imag).max())
    if imaginary > IMAGINARY * float(np.abs(blocks).max()):
        raise InputError(
            f"expected H(−k) = H(k)* on a mesh through Γ, got blocks with imaginary parts up to {imaginary:.2g}"
        )
    source, target, cell, shift, weight = _nearest_images(structure, mesh)
    result = zeros(structure.numbers, basis.restricted(structure.numbers), source, target, shift, folded=False)
    first, size = result.orbital_offsets, np.diff(result.orbital_offsets)
    for pairs in result.element_pairs.values():
        i, j = source[pairs], target[pairs]
        rows, columns = first[i][:, None] + np.arange(size[i[0]]), first[j][:, None] + np.arange(size[j[0]])
        own = blocks.real[cell[pairs][:, None, None], rows[:, :, None], columns[:, None, :]]
        result.put(pairs, own * weight[pairs][:, None, None])
    return hermitian_part(result)


def _cells(mesh: tuple[int, int, int]) -> np.ndarray:
    """Return the (K, 3) cells of a supercell: 0 … n − 1 in each direction, the last fastest."""
    return np.indices(mesh).reshape(3, -1).T


def _nearest_images(structure: Structure, mesh: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    """Return i, j, cell of the mesh (its number), R and weight of every block, sorted by (i, j, R)."""
    n, cells = len(structure), _cells(mesh)
    i, j, m = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(n), np.arange(len(cells)), indexing="ij"))
    vector = structure.positions[j] - structure.positions[i] + cells[m] @ structure.cell
    supercell = np.asarray(mesh)[:, None] * structure.cell
    reduced, change = minkowski_reduce(supercell)
    # In a Minkowski-reduced cell the nearest images are among the neighbours of the one wrapped into the cell.
    wrapped = -np.round(vector @ np.linalg.inv(reduced)).astype(np.int64)
    around = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    distance = np.stack([np.linalg.norm(vector + (wrapped + a) @ reduced, axis=1) for a in around])
    near = distance <= distance.min(axis=0) + TIE
    image, pair = np.nonzero(near)
    moved = (wrapped[pair] + around[image]) @ np.asarray(change, dtype=np.int64)
    shift = cells[m[pair]] + moved * np.asarray(mesh)
    order = pair_order(i[pair], j[pair], shift)
    pair = pair[order]
    return i[pair], j[pair], m[pair], shift[order], 1.0 / near.sum(axis=0)[pair]
