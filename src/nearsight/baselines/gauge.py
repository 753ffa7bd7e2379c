"""Gauges: H − μS describes the same states as H, with all energies lower by μ.

H and H₀ of a structure may differ in the zero of energy, and so may structures. What does not follow from the kinds of
atoms is taken as the structure's own μ before anything is fitted:

    v_i = v̄(Z_i) + μ_s + rest,    Σ_s N_s μ_s = 0,

with v_i the mean diagonal element of H_ii − H₀_ii. The μ of a structure to be predicted is not known: it gets the
mean, 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def structure_gauges(shifts: Sequence[np.ndarray], numbers: Sequence[np.ndarray]) -> np.ndarray:
    """(structures,) μ in the unit of the shifts, their mean over all atoms zero.

    Args:
        shifts: v of the usable atoms of each structure.
        numbers: their atomic numbers.
    """
    structure = np.repeat(np.arange(len(shifts)), [len(part) for part in shifts])
    elements, element = np.unique(np.concatenate(list(numbers)), return_inverse=True)
    design = np.hstack([np.eye(len(elements))[element], np.eye(len(shifts))[structure]])
    found = np.linalg.lstsq(design, np.concatenate(list(shifts)), rcond=None)[0][len(elements):]
    counts = np.bincount(structure, minlength=len(shifts))
    return np.asarray(found - found @ counts / max(1, counts.sum()))
