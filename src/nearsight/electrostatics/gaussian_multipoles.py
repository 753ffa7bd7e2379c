"""The potential and the field of Gaussian charges and dipoles at their own places.

    V_i = k Σ_j,R (q_j − d_j · ∇_i) erf(d / √2 w) / d,    E_i = −∇_i V_i,    d = |r_i − r_j − R|

without an atom's own charge and dipole, but with those of its images. In cells that are periodic in three directions
the sum goes over waves, whose weights decay as exp(−w²k²/2); V has no average over the cell, and the space around is
conducting.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from nearsight.electrostatics.ewald import ROOT
from nearsight.electrostatics.potential import COULOMB, Electrostatics, electrostatics
from nearsight.electrostatics.wave_sums import sum_over_waves
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

SMALLEST = 1e-7
"""Weight of the last waves against the first."""
REACH = 15.0
"""Å, within which dipoles count where a cell is not periodic in three directions."""


def gaussian_multipoles(structure: Structure, charges: np.ndarray, dipoles: np.ndarray, width: float) -> Electrostatics:
    """Compute the potential and the field of Gaussian charges and dipoles at the atoms.

    Parameters
    ----------
    structure : Structure
        Atoms and cell. Where it is not periodic in three directions, dipoles farther than `REACH` are left out.
    charges : (N,) array
        e; they add up to 0.
    dipoles : (N, 3) array
        e Å, Cartesian.
    width : float
        w, Å.

    Returns
    -------
    Electrostatics
        In V and V/Å.
    """
    if not structure.pbc.all():
        return _summed_near(structure, charges, dipoles, width)
    longest = np.sqrt(-2 * np.log(SMALLEST)) / width
    potential, field = sum_over_waves(
        structure,
        charges,
        dipoles,
        longest,
        lambda squares: 4 * np.pi / structure.volume * np.exp(-(width**2) * squares / 2) / squares,
    )
    own = ROOT / width
    return Electrostatics(
        COULOMB * (potential - own * charges), COULOMB * (field + own / (3 * width**2) * np.asarray(dipoles))
    )


def _summed_near(structure: Structure, charges: np.ndarray, dipoles: np.ndarray, width: float) -> Electrostatics:
    result = electrostatics(structure, charges, width)
    graph = build_graph(structure, REACH)
    d, r = -graph.vector, graph.distance
    u = r / width
    gauss = ROOT * np.exp(-(u**2) / 2)
    # f = erf(u/√2)/r; its slope is −g r, and the slope of g is −h r.
    g = (erf(u / np.sqrt(2)) / r - gauss / width) / r**2
    h = (3 * g - gauss / width**3) / r**2
    p = dipoles[graph.target]
    along = (p * d).sum(axis=1)
    potential, field = result.potential.copy(), result.field.copy()
    np.add.at(potential, graph.source, COULOMB * g * along)
    np.add.at(field, graph.source, COULOMB * (h[:, None] * along[:, None] * d - g[:, None] * p))
    return Electrostatics(potential, field)
