"""Leaving out what is too small to matter."""

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
