"""Leaving out what is too small to matter: elements, and digits of elements."""

from __future__ import annotations

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator


def pruned(operator: BlockOperator, threshold: float) -> BlockOperator:
    """Elements with |x| < threshold (the operator's unit) become zero; blocks of zeros are dropped.

    A Hermitian operator stays Hermitian.

    Raises:
        InputError: a negative threshold.
    """
    if not threshold >= 0:
        raise InputError(f"expected a threshold of at least 0, got {threshold}")
    values = np.where(np.abs(operator.values) < threshold, 0, operator.values)
    filled = np.concatenate([[0], np.cumsum(values != 0)])
    return operator.with_values(values).select(np.diff(filled[operator.offsets]) > 0)


def rounded(operator: BlockOperator, step: float) -> BlockOperator:
    """Elements as multiples of the largest power of two that is not above `step` (the operator's unit).

    They compress to half the size; each changes by half a step at most. A Hermitian operator stays Hermitian.

    Raises:
        InputError: a step that is not positive.
    """
    if not step > 0:
        raise InputError(f"expected a positive step, got {step}")
    power = 2.0 ** np.floor(np.log2(step))
    return operator.with_values(np.round(operator.values / power) * power)
