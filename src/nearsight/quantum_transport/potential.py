"""A bias across the device: the potential of each atom enters H through S."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.quantum_transport.junction import Junction


def biased(junction: Junction, bias: float, potential: np.ndarray | None = None) -> Junction:
    """Return a junction with its left lead higher by bias/2 and its right one lower by as much.

    Parameters
    ----------
    junction : Junction
        At zero bias.
    bias : float
        V.
    potential : (N,) array of float, optional
        Energy of an electron at each atom, eV, in the order of the structure. By default it drops linearly with the
        coordinate along the axis between the two leads' layers.

    Returns
    -------
    Junction
        With H_ij + ½ (φ_i + φ_j) S_ij in the device and H ± bias/2 · S in the leads.

    Raises
    ------
    InputError
        If the potential is not one number for each atom.
    """
    axial = junction.axial
    phi = linear_drop(junction, bias) if potential is None else np.asarray(potential, dtype=np.float64)
    if phi.shape != (len(junction.structure),):
        raise InputError(f"expected {len(junction.structure)} potentials in eV, one for each atom, got {phi.shape}")
    if not np.isfinite(phi).all():
        raise InputError(
            f"expected finite potentials in eV, got one at atom {int(np.argmin(np.isfinite(phi)))} that is not"
        )
    h = raised(axial.hamiltonian, axial.overlap, phi)
    return replace(
        junction,
        axial=replace(axial, hamiltonian=h),
        left=replace(junction.left, energy_shift=junction.left.energy_shift + bias / 2),
        right=replace(junction.right, energy_shift=junction.right.energy_shift - bias / 2),
    )


def linear_drop(junction: Junction, bias: float) -> np.ndarray:
    """Return (N,) energies in eV: +bias/2 in the left lead's layer, −bias/2 in the right one's, linear between."""
    along = junction.axial.along
    begin = float(along[junction.left.atoms].max())
    end = float(along[junction.right.atoms].min())
    return bias * (0.5 - np.clip((along - begin) / (end - begin), 0.0, 1.0))


def raised(h: BlockOperator, s: BlockOperator, phi: np.ndarray) -> BlockOperator:
    """Return H_ij + ½ (φ_i + φ_j) S_ij for H and S on the same pairs, φ in eV."""
    mean = (phi[h.source] + phi[h.target]) / 2
    return h.with_values(h.values + np.repeat(mean, h.lengths) * s.values)
