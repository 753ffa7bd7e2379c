"""Rattled HfO₂ molecules with an extended-Hückel H: many small structures, all different."""

from __future__ import annotations

import numpy as np

from nearsight.operators.calculation import Calculation
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.structures.structure import Structure
from tests.self_consistency.tight_binding import BASIS, LEVELS

LENGTH, SPREAD = 1.8, 0.08
"""Å."""


def molecules(count: int, seed: int = 0) -> list[Calculation]:
    """Bent O-Hf-O, turned and displaced at random."""
    rng = np.random.default_rng(seed)
    places = LENGTH * np.array([[0.0, 0.0, 0.0], [0.9, 0.4, 0.0], [-0.9, 0.4, 0.0]])
    return [
        _molecule(Structure([72, 8, 8], places + SPREAD * rng.standard_normal((3, 3)), np.zeros((3, 3)), False))
        for _ in range(count)
    ]


def _molecule(structure: Structure) -> Calculation:
    s = overlap_of(structure, BASIS)
    h = s.with_values(s.values.copy())
    for (zi, zj), pairs in s.element_pairs.items():
        levels = (np.array(LEVELS[zi])[:, None] + np.array(LEVELS[zj])[None, :]) / 2
        h.put(pairs, s.stack(pairs) * np.where(s.on_site[pairs], 1.0, 1.75)[:, None, None] * levels)
    return Calculation(structure, BASIS, h, s)
