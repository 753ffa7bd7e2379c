"""How strongly on-site terms are penalised, where many structures can tell: cross-validation by whole structures.

The default penalties suit one disordered structure, whose atoms share their mistakes. Hundreds of molecules determine
far more, and with those penalties the terms of small molecules are ten times worse than their data allow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.baselines.ridge import NormalEquations

MANY = 10
"""Structures from which on the penalty is chosen."""
FOLDS = 5
FACTORS = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Of the default penalty."""
WORTH = 0.98
"""A weaker penalty has to make the unseen error this much smaller than a stronger one."""


def chosen_factor(samples: Sequence[tuple[np.ndarray, np.ndarray]], degree: int, ridge: np.ndarray) -> float:
    """Return the factor of the penalty at which unseen structures are predicted best.

    Parameters
    ----------
    samples : sequence of ((n, F, 2l+1) array, (n, K, 2l+1) array)
        Features and targets of each structure's atoms.
    degree : int
        l.
    ridge : (F,) array of float64
        The default penalty.

    Returns
    -------
    float
        One of `FACTORS`; 1 where there are few structures.
    """
    known = [(x, y) for x, y in samples if len(x)]
    if len(known) < MANY:
        return 1.0
    folds = [known[k::FOLDS] for k in range(FOLDS)]
    errors = np.zeros(len(FACTORS))
    for k, left_out in enumerate(folds):
        equations = NormalEquations(known[0][0].shape[1], known[0][1].shape[1], degree)
        for own in (one for n, fold in enumerate(folds) if n != k for one in fold):
            equations.add(*own)
        x, y = (np.concatenate(parts) for parts in zip(*left_out))
        for number, factor in enumerate(FACTORS):
            regression, _ = equations.solve(factor * ridge)
            errors[number] += float(((y - regression(x)) ** 2).sum())
    best = 0
    for number in range(1, len(FACTORS)):
        if errors[number] < WORTH * errors[best]:
            best = number
    return FACTORS[best]
