"""Loops of the network `nearsight` between its products: radial factors and gates of a chunk, and their gradients.

Arrays are those of `loops.py`. Each loop exists for vectors, which the widths of all blocks must fill, and one by one
for other widths; the first argument chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from nearsight.nn.architectures.nearsight.kernels.loops import COMPONENTS, ROW, START, WIDTH
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.vectors import LANES, load, spread, square_root, store


def _radial_kernels(lanes: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    W = lanes

    def modulate(y, add, one, first, values, table, count, offset, sizes, h):  # type: ignore[no-untyped-def]
        """Compute h = add + y·f, f = one + Σ values·table rows per channel; block 0 gets Σ values·offset rows, too.

        y, h are flat hidden values, add is flat like h or empty for nothing; first (B,) and values (B, 4) are what
        `loops.splines` wrote; table (count, channels) and offset (count, width of block 0) are flat, offset may be
        empty for nothing; sizes (blocks, 9).
        """
        bonds, blocks, adds, width0 = len(first), len(sizes), len(add) > 0, sizes[0, WIDTH]
        channels = sizes[blocks - 1, START] + sizes[blocks - 1, WIDTH]
        factor, constant = np.empty(channels, y.dtype), spread(y.dtype.type(one), W)
        for b in range(bonds):
            row, terms = first[b], min(4, count - first[b])
            for q in range(0, channels, W):
                sums = constant
                for k in range(terms):
                    sums = sums + spread(values[b, k], W) * load(table, (row + k) * channels + q, W)
                store(factor, q, sums)
            for k in range(blocks):
                width, start = sizes[k, WIDTH], sizes[k, START]
                at = sizes[k, ROW] * bonds + b * sizes[k, COMPONENTS] * width
                for _ in range(sizes[k, COMPONENTS]):
                    if adds:
                        for q in range(0, width, W):
                            product = load(y, at + q, W) * load(factor, start + q, W)
                            store(h, at + q, load(add, at + q, W) + product)
                    else:
                        for q in range(0, width, W):
                            store(h, at + q, load(y, at + q, W) * load(factor, start + q, W))
                    at += width
            if len(offset) > 0:
                for q in range(0, width0, W):
                    sums = load(h, b * width0 + q, W)
                    for k in range(terms):
                        sums = sums + spread(values[b, k], W) * load(offset, (row + k) * width0 + q, W)
                    store(h, b * width0 + q, sums)

    def modulate_back(  # type: ignore[no-untyped-def]
        y, dh, one, first, values, table, count, sizes, dy, dtable, doffset
    ):
        """Write dy, of dh (flat), and add to the gradients of table and, unless empty, of offset (flat)."""
        bonds, blocks, width0 = len(first), len(sizes), sizes[0, WIDTH]
        channels = sizes[blocks - 1, START] + sizes[blocks - 1, WIDTH]
        constant, none = spread(y.dtype.type(one), W), spread(y.dtype.type(0), W)
        factor, slope = np.empty(channels, y.dtype), np.empty(channels, y.dtype)
        for b in range(bonds):
            row, terms = first[b], min(4, count - first[b])
            for q in range(0, channels, W):
                sums = constant
                for k in range(terms):
                    sums = sums + spread(values[b, k], W) * load(table, (row + k) * channels + q, W)
                store(factor, q, sums)
            for k in range(blocks):
                width, start, components = sizes[k, WIDTH], sizes[k, START], sizes[k, COMPONENTS]
                at = sizes[k, ROW] * bonds + b * components * width
                for q in range(0, width, W):
                    sums, own = none, load(factor, start + q, W)
                    for component in range(components):
                        place = at + component * width + q
                        above = load(dh, place, W)
                        store(dy, place, above * own)
                        sums = sums + above * load(y, place, W)
                    store(slope, start + q, sums)
            for k in range(terms):
                value, to = spread(values[b, k], W), (row + k) * channels
                for q in range(0, channels, W):
                    store(dtable, to + q, load(dtable, to + q, W) + value * load(slope, q, W))
                if len(doffset) > 0:
                    to = (row + k) * width0
                    for q in range(0, width0, W):
                        store(doffset, to + q, load(doffset, to + q, W) + value * load(dh, b * width0 + q, W))

    return compiled(modulate), compiled(modulate_back)


def _activation_kernels(lanes: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    W = lanes

    def activate(h, count, scalars, inverse):  # type: ignore[no-untyped-def]
        """Compute scalars = ½x(1 + x·inverse) and inverse = 1/√(1+x²) of the first `count` hidden values, all flat."""
        half, ones = spread(h.dtype.type(0.5), W), spread(h.dtype.type(1), W)
        for q in range(0, count, W):
            x = load(h, q, W)
            own = ones / square_root(ones + x * x)
            store(inverse, q, own)
            store(scalars, q, half * x * (ones + x * own))

    def activate_back(h, count, inverse, dscalars, more, dh):  # type: ignore[no-untyped-def]
        """Write the gradient of the first `count` hidden values [+ more] to dh, of dscalars; all flat."""
        half, ones, adds = spread(h.dtype.type(0.5), W), spread(h.dtype.type(1), W), len(more) > 0
        for q in range(0, count, W):
            x, own = load(h, q, W), load(inverse, q, W)
            bent = x * own
            value = load(dscalars, q, W) * half * (ones + bent + bent * own * own)
            store(dh, q, value + load(more, q, W) if adds else value)

    return compiled(activate), compiled(activate_back)


def _gate_kernels(lanes: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    W = lanes

    def gates(h, scalars, t, bonds, sizes, inverse, z):  # type: ignore[no-untyped-def]
        """Compute z = h·(1 + t·inverse), inverse = 1/√(1+t²), with the scalars in place of the first block.

        h, z are flat hidden values, scalars (B, width of block 0), t and inverse (B, channels) flat.
        """
        blocks, ones = len(sizes), spread(h.dtype.type(1), W)
        channels = sizes[blocks - 1, START] + sizes[blocks - 1, WIDTH]
        factor = np.empty(channels, h.dtype)
        for b in range(bonds):
            for q in range(0, channels, W):
                x = load(t, b * channels + q, W)
                own = ones / square_root(ones + x * x)
                store(inverse, b * channels + q, own)
                store(factor, q, ones + x * own)
            width = sizes[0, WIDTH]
            for q in range(0, width, W):
                store(z, b * width + q, load(scalars, b * width + q, W) * load(factor, q, W))
            for k in range(1, blocks):
                width, start = sizes[k, WIDTH], sizes[k, START]
                at = sizes[k, ROW] * bonds + b * sizes[k, COMPONENTS] * width
                for _ in range(sizes[k, COMPONENTS]):
                    for q in range(0, width, W):
                        store(z, at + q, load(h, at + q, W) * load(factor, start + q, W))
                    at += width

    def gates_back(  # type: ignore[no-untyped-def]
        h, scalars, t, inverse, dz, more, bonds, sizes, dh, dscalars, dt
    ):
        """Write the gradients, of dz, of h [+ more] but for its first block, of scalars and t; all flat."""
        blocks, adds = len(sizes), len(more) > 0
        ones, none = spread(h.dtype.type(1), W), spread(h.dtype.type(0), W)
        channels = sizes[blocks - 1, START] + sizes[blocks - 1, WIDTH]
        for b in range(bonds):
            width, base = sizes[0, WIDTH], b * channels
            for q in range(0, width, W):
                own, above = load(inverse, base + q, W), load(dz, b * width + q, W)
                store(dscalars, b * width + q, above * (ones + load(t, base + q, W) * own))
                store(dt, base + q, above * load(scalars, b * width + q, W) * own * own * own)
            for k in range(1, blocks):
                width, start, components = sizes[k, WIDTH], base + sizes[k, START], sizes[k, COMPONENTS]
                at = sizes[k, ROW] * bonds + b * components * width
                for q in range(0, width, W):
                    own, sums = load(inverse, start + q, W), none
                    factor = ones + load(t, start + q, W) * own
                    for component in range(components):
                        place = at + component * width + q
                        above = load(dz, place, W)
                        sums = sums + above * load(h, place, W)
                        if adds:
                            store(dh, place, above * factor + load(more, place, W))
                        else:
                            store(dh, place, above * factor)
                    store(dt, start + q, sums * own * own * own)

    return compiled(gates), compiled(gates_back)


_MODULATE, _MODULATE_BACK = _radial_kernels(LANES)
_MODULATE_ONE, _MODULATE_BACK_ONE = _radial_kernels(1)
_ACTIVATE, _ACTIVATE_BACK = _activation_kernels(LANES)
_ACTIVATE_ONE, _ACTIVATE_BACK_ONE = _activation_kernels(1)
_GATES, _GATES_BACK = _gate_kernels(LANES)
_GATES_ONE, _GATES_BACK_ONE = _gate_kernels(1)


@numba.njit(inline="always")
def modulate(filled, y, add, one, first, values, table, count, offset, sizes, h):  # type: ignore[no-untyped-def]
    """Compute h = add + y·f (see `_radial_kernels`)."""
    if filled:
        _MODULATE(y, add, one, first, values, table, count, offset, sizes, h)
    else:
        _MODULATE_ONE(y, add, one, first, values, table, count, offset, sizes, h)


@numba.njit(inline="always")
def modulate_back(  # type: ignore[no-untyped-def]
    filled, y, dh, one, first, values, table, count, sizes, dy, dtable, doffset
):
    """Compute the gradients of `modulate`."""
    if filled:
        _MODULATE_BACK(y, dh, one, first, values, table, count, sizes, dy, dtable, doffset)
    else:
        _MODULATE_BACK_ONE(y, dh, one, first, values, table, count, sizes, dy, dtable, doffset)


@numba.njit(inline="always")
def activate(filled, h, count, scalars, inverse):  # type: ignore[no-untyped-def]
    """Compute the activation of the scalars (see `_activation_kernels`)."""
    if filled:
        _ACTIVATE(h, count, scalars, inverse)
    else:
        _ACTIVATE_ONE(h, count, scalars, inverse)


@numba.njit(inline="always")
def activate_back(filled, h, count, inverse, dscalars, more, dh):  # type: ignore[no-untyped-def]
    """Compute the gradient of `activate`."""
    if filled:
        _ACTIVATE_BACK(h, count, inverse, dscalars, more, dh)
    else:
        _ACTIVATE_BACK_ONE(h, count, inverse, dscalars, more, dh)


@numba.njit(inline="always")
def gates(filled, h, scalars, t, bonds, sizes, inverse, z):  # type: ignore[no-untyped-def]
    """Apply the gates (see `_gate_kernels`)."""
    if filled:
        _GATES(h, scalars, t, bonds, sizes, inverse, z)
    else:
        _GATES_ONE(h, scalars, t, bonds, sizes, inverse, z)


@numba.njit(inline="always")
def gates_back(  # type: ignore[no-untyped-def]
    filled, h, scalars, t, inverse, dz, more, bonds, sizes, dh, dscalars, dt
):
    """Compute the gradients of `gates`."""
    if filled:
        _GATES_BACK(h, scalars, t, inverse, dz, more, bonds, sizes, dh, dscalars, dt)
    else:
        _GATES_BACK_ONE(h, scalars, t, inverse, dz, more, bonds, sizes, dh, dscalars, dt)
