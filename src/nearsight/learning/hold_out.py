"""Which of many structures are kept for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.learning.config import DataConfig
from nearsight.operators.calculation import Calculation

MANY = 10
"""Structures from which on whole ones are kept; of fewer, a slab of each, unless they are molecules."""


@dataclass(frozen=True, eq=False)
class Division:
    """Structures to train and to validate on.

    Attributes
    ----------
    names : tuple of str
        Files of what is trained on; empty where it came without.
    training, validation : sequence of Calculation
        The structures.
    kept : int
        How many of the training structures were kept for validation.
    """

    names: tuple[str, ...]
    training: Sequence[Calculation]
    validation: Sequence[Calculation]
    kept: int = 0


def divided(
    data: DataConfig, training: Sequence[Calculation], validation: Sequence[Calculation], seed: int
) -> Division:
    """Keep some of many structures for validation where none are given.

    Parameters
    ----------
    data : DataConfig
        Whether, and which part of the structures, and the names of the files.
    training, validation : sequence of Calculation
        The structures.
    seed : int
        Seed of the draw.

    Returns
    -------
    Division
        All as it was where there is something to validate on, or there are few large structures, of which a slab is
        kept instead.
    """
    count = len(training)
    molecules = not any(calculation.structure.pbc.any() for calculation in training)
    if len(validation) or not data.validation_slabs or count < (2 if molecules else MANY):
        return Division(data.train, training, validation)
    kept = np.zeros(count, dtype=bool)
    kept[np.random.default_rng(seed).permutation(count)[: max(1, round(data.validation_fraction * count))]] = True
    names = tuple(name for name, k in zip(data.train, kept) if not k)
    mine, others = ([one for one, k in zip(training, kept) if k == wanted] for wanted in (False, True))
    return Division(names, mine, others, int(kept.sum()))
