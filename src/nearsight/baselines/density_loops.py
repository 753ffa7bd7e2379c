"""Neighbour densities edge by edge: no array holds the harmonics and radial functions of all edges."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np

from nearsight.compiled_code import compiled_with
from nearsight.orbitals import harmonic_loops
from nearsight.orbitals.harmonic_loops import harmonics_at


@numba.njit(inline="always")
def _splines(distance, cutoff, count, values):  # type: ignore[no-untyped-def]
    """Write the four functions of `RadialFunctions` that are not zero here; return the number of the first."""
    s = count * distance / cutoff
    k = min(int(s), count - 1)
    t = s - k
    values[0] = (1 - t) ** 3 / 6
    values[1] = (3 * t**3 - 6 * t**2 + 4) / 6
    values[2] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
    values[3] = t**3 / 6
    return k


def _densities(vectors, starts, kinds, cutoff, l_max, terms, total):  # type: ignore[no-untyped-def]
    count, harmonics, splines = total.shape[2], np.empty((l_max + 1) ** 2), np.empty(4)
    for atom in range(len(starts) - 1):
        for e in range(starts[atom], starts[atom + 1]):
            x, y, z = vectors[e, 0], vectors[e, 1], vectors[e, 2]
            distance = np.sqrt(x * x + y * y + z * z)
            if distance >= cutoff:
                continue
            first = _splines(distance, cutoff, count, splines)
            harmonics_at(x / distance, y / distance, z / distance, l_max, terms, harmonics)
            for k in range(min(4, count - first)):
                row, value = total[atom, kinds[e], first + k], splines[k]
                for m in range(len(harmonics)):
                    row[m] += value * harmonics[m]


def _second_hop(vectors, starts, kinds, target, scalars, cutoff, l_max, terms, total):  # type: ignore[no-untyped-def]
    count, harmonics, splines = total.shape[2], np.empty((l_max + 1) ** 2), np.empty(4)
    for atom in range(len(starts) - 1):
        for e in range(starts[atom], starts[atom + 1]):
            x, y, z = vectors[e, 0], vectors[e, 1], vectors[e, 2]
            distance = np.sqrt(x * x + y * y + z * z)
            if distance >= cutoff:
                continue
            first = _splines(distance, cutoff, count, splines)
            harmonics_at(x / distance, y / distance, z / distance, l_max, terms, harmonics)
            carried = scalars[target[e]]
            for k in range(min(4, count - first)):
                for f in range(len(carried)):
                    value = splines[k] * carried[f]
                    if value != 0.0:
                        row = total[atom, kinds[e], first + k, f]
                        for m in range(len(harmonics)):
                            row[m] += value * harmonics[m]


_FOLDERS = (Path(harmonic_loops.__file__).parent,)
_FAST = {"contract"}

add_densities = compiled_with(_densities, _FOLDERS, nogil=True, fastmath=_FAST, error_model="numpy")
"""Add densities to total (atoms, elements, functions, (l_max+1)²): the edges of each atom lie between its two `starts`,
`kinds` are positions of the neighbours' elements, terms those of `harmonic_terms`."""

add_second_hop = compiled_with(_second_hop, _FOLDERS, nogil=True, fastmath=_FAST, error_model="numpy")
"""Add densities of the scalars (N, F) of each neighbour `target` to total
(atoms, elements, functions, F, (l_max+1)²)."""
