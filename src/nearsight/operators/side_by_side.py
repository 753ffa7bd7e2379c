"""Molecules side by side: one structure of many, too far apart to see each other, with the blocks that each has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure


def side_by_side(calculations: Sequence[Calculation], basis: BasisSet, apart: float) -> Calculation:
    """Return several molecules as one calculation, in which a strictly local model sees each as it was.

    Parameters
    ----------
    calculations : sequence of Calculation
        Molecules; H, S and H₀ are kept where all have them.
    basis : BasisSet
        Of all their elements.
    apart : float
        Å between atoms of different molecules, at least.

    Returns
    -------
    Calculation
        Atoms and blocks of the first, of the second, …; positions of each are moved along x by a whole number of Å.

    Raises
    ------
    InputError
        There are none, or one is periodic.
    """
    if not calculations or any(c.structure.pbc.any() for c in calculations):
        raise InputError("expected molecules to put side by side, got none or a periodic structure")
    if len(calculations) == 1:
        return calculations[0]
    structures = [c.structure for c in calculations]
    first = np.concatenate([[0], np.cumsum([len(s) for s in structures])])
    places, end = [], 0.0
    for structure in structures:
        move = np.ceil(end - structure.positions[:, 0].min())
        places.append(structure.positions + np.array([move, 0.0, 0.0]))
        end = float(places[-1][:, 0].max()) + apart
    merged = Structure(
        np.concatenate([s.numbers for s in structures]),
        np.concatenate(places),
        np.zeros((3, 3)),
        np.zeros(3, dtype=bool),
    )

    def joined(name: str) -> BlockOperator | None:
        own = [getattr(c, name) for c in calculations]
        if any(one is None for one in own):
            return None
        return BlockOperator(
            merged.numbers,
            basis,
            np.concatenate([one.source + k for one, k in zip(own, first)]),
            np.concatenate([one.target + k for one, k in zip(own, first)]),
            np.concatenate([one.shift for one in own]),
            np.concatenate([one.values for one in own]),
            all(one.folded for one in own),
        )

    return Calculation(merged, basis, hamiltonian=joined("hamiltonian"), overlap=joined("overlap"), h0=joined("h0"))
