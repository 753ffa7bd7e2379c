"""Energy references: two matrices with other zeros of energy matched through the overlap.

The zero of energy of a periodic calculation is that of its average potential, that of a predicted matrix what its
model learnt. The same material in another cell has H + μ S in place of H, with one number μ for all elements. It is
found where both describe the same atoms: on the on-site blocks of a lead's layer, in the bulk and in the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.operators.blocks import BlockOperator

AMBIGUOUS = 0.1
"""eV, spread of μ from atom to atom above which the layer of the device is not the bulk's."""


@dataclass(frozen=True, eq=False)
class EnergyShift:
    """The energy that is added to a lead so that it fits the device.

    Attributes
    ----------
    value : float
        μ in eV: H_bulk + μ S is nearest to H of the device.
    spread : float
        Standard deviation of μ from one atom to the next, eV.
    residual : float
        Largest |H_bulk + μ S − H_device| of the on-site blocks that is left, eV.
    """

    value: float
    spread: float
    residual: float

    @property
    def is_ambiguous(self) -> bool:
        """Whether atoms disagree about μ."""
        return self.spread > AMBIGUOUS


def matched_energy(
    bulk_h: BlockOperator, bulk_s: BlockOperator, device_h: BlockOperator, atoms: np.ndarray
) -> EnergyShift:
    """Find μ for which H + μ S of the bulk is nearest to H of the device.

    Parameters
    ----------
    bulk_h, bulk_s : BlockOperator
        H (eV) and S of the layer, in real space.
    device_h : BlockOperator
        H of the device, eV, in real space along the axis of transport.
    atoms : (n,) array of int
        The atom of the device that each atom of the layer is.

    Returns
    -------
    EnergyShift
        From on-site blocks, by least squares: μ = ⟨S, H_device − H_bulk⟩ / ⟨S, S⟩ summed over atoms.
    """
    overlap, per_atom, away = [], [], []
    for n, atom in enumerate(atoms):
        s = bulk_s.block(n, n)
        difference = device_h.block(int(atom), int(atom)) - bulk_h.block(n, n)
        weight = float(np.sum(s * s))
        overlap.append(weight)
        per_atom.append(float(np.sum(s * difference)) / weight)
        away.append((difference, s))
    value = float(np.average(per_atom, weights=overlap))
    residual = max(float(np.abs(difference - value * s).max()) for difference, s in away)
    return EnergyShift(value, float(np.std(per_atom)), residual)
