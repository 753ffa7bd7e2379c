"""Products of two matrices with very many rows and few columns, as gradients of weights are."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 4096
"""Rows of a part; fewer leave a GPU idle, as each part has few numbers as its result."""

MOST = 256
"""Largest number of parts."""


def add_tall_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Add aᵀb, computed in parts that are added up in order.

    Parameters
    ----------
    out : Tensor
        (m, n), added to.
    a, b : Tensor
        (rows, m) and (rows, n), contiguous.
    """
    rows = len(a)
    parts = min(MOST, rows // ROWS)
    if parts < 2:
        out.addmm_(a.T, b)
        return
    size = rows // parts
    whole = parts * size
    products = torch.bmm(a[:whole].view(parts, size, -1).mT, b[:whole].view(parts, size, -1))
    out += products.sum(0)
    if whole < rows:
        out.addmm_(a[whole:].T, b[whole:])
