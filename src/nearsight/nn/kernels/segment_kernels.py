"""Sums over the rows that belong to each atom, in Triton: always in the same order, without atomic additions."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS = 8, 128
"""Rows that are read at once, and columns of a program."""


@triton.jit(do_not_specialize=["width"])
def _segment_sums(values, order, start, out, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    node = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    first, last = tl.load(start + node), tl.load(start + node + 1)
    if last > first:
        total = tl.zeros([ROWS, COLUMNS], dtype=values.dtype.element_ty)
        for at in range(first, last, ROWS):
            place = at + tl.arange(0, ROWS)
            row = tl.load(order + place, mask=place < last, other=0)
            mask = (place < last)[:, None] & (column < width)[None, :]
            total += tl.load(values + row[:, None] * width + column[None, :], mask=mask, other=0.0)
        here = out + node.to(tl.int64) * width + column
        before = tl.load(here, mask=column < width, other=0.0)
        tl.store(here, before + tl.sum(total, axis=0), mask=column < width)


def add_segment_sums(values: Tensor, order: Tensor, start: Tensor, out: Tensor) -> None:
    """Add to each row of `out` the sum of the rows of `values` that belong to it.

    Parameters
    ----------
    values : Tensor
        (e, …) contiguous.
    order : Tensor
        (e',) int64, rows of `values` by the row of `out` that they belong to.
    start : Tensor
        (n + 1,) int64, where in `order` those of each row begin.
    out : Tensor
        (n, …) contiguous, added to.
    """
    if len(order) and len(out):
        width = out[0].numel()
        with torch.cuda.device_of(out):
            _segment_sums[len(out), triton.cdiv(width, COLUMNS)](values, order, start, out, width, ROWS, COLUMNS)
