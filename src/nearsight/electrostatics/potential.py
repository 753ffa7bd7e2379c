"""Electrostatics: the potential and the field of charges at their own places, for any periodicity.

    V_i = k Σ'_{j,R} q_j erf(d / √2 w_j) / d,    E_i = −∇_i V_i,    d = |r_i − r_j − R|

The sum goes over all periodic images. w_j is the width of a Gaussian charge, 0 of a point charge; an atom's own charge
is omitted (the prime), its images are not. Nothing is cut off; the modules of each periodicity say how images are
summed.

| periodic directions | method | zero of V | charged cells |
|---|---|---|---|
| 3 | Ewald, the space around conducting | average over the cell | uniform background |
| 2 | Ewald in a cell with vacuum, corrected | mean of both sides, far away | refused |
| 1 | direct sum with its tail | far away | refused |
| 0 | direct sum | far away | allowed |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electrostatics.direct_sums import isolated, wire
from nearsight.electrostatics.ewald import ewald, slab
from nearsight.errors import InputError
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

COULOMB = HARTREE_IN_EV * BOHR_IN_ANGSTROM
"""Coulomb's constant k = e²/4πε₀, in eV Å."""

NEUTRAL = 1e-6
"""Largest charge (e) of a cell that counts as none."""


@dataclass(frozen=True, eq=False)
class Electrostatics:
    """Potential and field at every atom.

    Attributes
    ----------
    potential : ndarray of shape (N,)
        In V.
    field : ndarray of shape (N, 3)
        In V/Å, Cartesian.
    """

    potential: np.ndarray
    field: np.ndarray


def electrostatics(structure: Structure, charges: np.ndarray, widths: np.ndarray | float = 0.0) -> Electrostatics:
    """Compute the potential and the field of charges at the atoms.

    Parameters
    ----------
    structure : Structure
        Atoms and cell.
    charges : ndarray of shape (N,)
        In e.
    widths : float or ndarray of shape (N,)
        Standard deviation of each Gaussian charge in Å; 0 is a point charge.

    Returns
    -------
    Electrostatics
        In V and V/Å.

    Raises
    ------
    InputError
        If shapes or numbers cannot be, or a cell with one or two periodic directions is charged.

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.electrostatics.potential import electrostatics
    >>> from nearsight.structures.structure import Structure
    >>> pair = Structure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 2.0]]), np.zeros((3, 3)), np.zeros(3, bool))
    >>> electrostatics(pair, np.array([1.0, -1.0])).potential.round(2)
    array([-7.2,  7.2])
    """
    charges, widths = _checked(structure, charges, widths)
    periodic = int(structure.pbc.sum())
    if periodic in (1, 2) and abs(charges.sum()) > NEUTRAL:
        raise InputError(
            f"expected charges that add up to 0 in a cell with {periodic} periodic direction(s), got "
            f"{charges.sum():.3g} e; the potential of a charged one has no zero"
        )
    method = (isolated, wire, slab, ewald)[periodic]
    potential, field = method(structure, charges, widths)
    return Electrostatics(COULOMB * potential, COULOMB * field)


def _checked(structure: Structure, charges: np.ndarray, widths: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    q, n = np.asarray(charges, dtype=np.float64), len(structure)
    if q.shape != (n,) or not np.isfinite(q).all():
        raise InputError(f"expected {n} finite charges, one per atom, got an array of shape {q.shape}")
    w = np.asarray(widths, dtype=np.float64)
    if w.shape not in ((), (n,)) or not np.isfinite(w).all() or (w < 0).any():
        raise InputError(f"expected one width or {n}, finite and not negative, got {widths!r}")
    return q, np.broadcast_to(w, (n,))
