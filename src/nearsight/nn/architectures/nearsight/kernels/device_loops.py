"""Loops of the network `nearsight` over a chunk of B bonds on a GPU, in Triton.

They do what the loops of the same names in `loops.py` do, on the same flat buffers: block k is a contiguous
(B, components, width) array at offset row_k·B. Factors of the bond's length come as a matrix (B, channels), so that
all sums over bonds are matrix products; no result depends on the order in which programs run. The reference
implementation of all loops is `PairNetwork`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from nearsight.nn.kernels.incidence import Incidence
from nearsight.nn.kernels.segment_kernels import add_segment_sums

WIDTH, COMPONENTS, START, ROW, OUTPUTS, COLUMN, FIELDS = (tl.constexpr(k) for k in (1, 2, 3, 4, 5, 6, 9))
"""Columns of `sizes` as in `loops.py`, and their number."""

TILE = 512
"""Numbers of a program that works on each number by itself."""

BONDS = 16
"""Bonds of a program that turns features."""


@dataclass(frozen=True, eq=False)
class BlockTable:
    """Sizes of the hidden blocks, where programs and where their callers read them.

    Attributes
    ----------
    sizes : Tensor
        (blocks, 9) int32, as in `loops.py`.
    place : Tensor
        (2, l_max+1) int64, offset of the (B, components, inputs) array of each parity and order in the flat inputs,
        divided by B; −1 where there is no such block.
    widest, most_outputs : int
        Largest width and largest number of outputs.
    exchange : bool
        Whether both elements are equal, so that inputs are sums and differences of the atoms.
    """

    sizes: Tensor
    place: Tensor
    widest: int
    most_outputs: int
    exchange: bool

    @property
    def l_max(self) -> int:
        """Highest degree of the features."""
        return self.place.shape[1] - 1

    def grid(self, bonds: int, numbers: int) -> tuple[int, int]:
        """Return the programs for so many numbers of each bond in each block."""
        return triton.cdiv(bonds * numbers, TILE), len(self.sizes)


@triton.jit(do_not_specialize=["bonds"])
def _lengths(
    distance,
    radial,
    envelope,
    bonds,
    COUNT: tl.constexpr,
    CUTOFF: tl.constexpr,
    END: tl.constexpr,
    SCALE: tl.constexpr,
    BONDS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    bond = tl.program_id(0) * BONDS + tl.arange(0, BONDS)
    here = bond < bonds
    r = tl.load(distance + bond, mask=here, other=0.0)
    s = r * (COUNT / CUTOFF)
    interval = tl.floor(s)
    t = (s - interval)[:, None]
    k = tl.arange(0, COLUMNS)
    part = k[None, :] - interval.to(tl.int32)[:, None]
    rest = 1 - t
    value = tl.where(part == 0, rest * rest * rest, 0 * t)
    value = tl.where(part == 1, (3 * t - 6) * t * t + 4, value)
    value = tl.where(part == 2, ((3 - 3 * t) * t + 3) * t + 1, value)
    value = tl.where(part == 3, t * t * t, value)
    mask = here[:, None] & (k < COUNT)[None, :]
    tl.store(radial + bond[:, None] * COUNT + k[None, :], value * (SCALE / 6), mask=mask)
    x = (r - (CUTOFF - END)) / END
    x = tl.minimum(tl.maximum(x, 0 * x), 0 * x + 1)
    tl.store(envelope + bond, 1 - x * x * x * (10 - 15 * x + 6 * x * x), mask=here)


def lengths(distance: Tensor, cutoff: float, end: float, scale: float, radial: Tensor, envelope: Tensor) -> None:
    """Compute the functions of the bonds' lengths.

    Parameters
    ----------
    distance : Tensor
        (B,) Å.
    cutoff, end, scale : float
        Cutoff and width of the envelope in Å, and factor of the splines.
    radial : Tensor
        Written: (B, functions), what `pair_network.splines` returns.
    envelope : Tensor
        Written: (B,), what `pair_network.envelope` returns.
    """
    bonds, count = radial.shape
    columns = triton.next_power_of_2(count)
    grid = (triton.cdiv(bonds, 64),)
    _lengths[grid](distance, radial, envelope, bonds, count, cutoff, end, scale, 64, columns)


@triton.jit(do_not_specialize=["bonds"])
def _gather(
    features,
    source,
    target,
    frames,
    place,
    x,
    bonds,
    channels,
    L_MAX: tl.constexpr,
    FRAME: tl.constexpr,
    SIDES: tl.constexpr,
    BONDS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    l = tl.program_id(1)
    size = 2 * l + 1
    bond = tl.program_id(0) * BONDS + tl.arange(0, BONDS)
    q = tl.arange(0, CHANNELS)
    here = bond < bonds
    inside = here[:, None] & (q < channels)[None, :]
    rows = (L_MAX + 1) * (L_MAX + 1)
    left = features + ((tl.load(source + bond, mask=here, other=0) * rows + l * l) * channels)[:, None] + q[None, :]
    right = features + ((tl.load(target + bond, mask=here, other=0) * rows + l * l) * channels)[:, None] + q[None, :]
    turn = frames + bond.to(tl.int64) * FRAME + l * (2 * l - 1) * size // 3
    sign = 1 - 2 * (l % 2)
    for row in range(size):
        first = tl.zeros([BONDS, CHANNELS], dtype=features.dtype.element_ty)
        second = tl.zeros([BONDS, CHANNELS], dtype=features.dtype.element_ty)
        for k in range(size):
            w = tl.load(turn + row * size + k, mask=here, other=0.0)[:, None]
            first += w * tl.load(left + k * channels, mask=inside, other=0.0)
            second += w * tl.load(right + k * channels, mask=inside, other=0.0)
        order = tl.abs(row - l)
        components = tl.minimum(order, 1) + 1
        component = (row < l).to(tl.int32)
        inputs = (L_MAX + 1 - order) * SIDES * channels
        at = bond.to(tl.int64) * (components * inputs) + component * inputs + (l - order) * SIDES * channels
        even = tl.load(place + order)
        if SIDES == 1:
            odd = tl.load(place + L_MAX + 1 + order)
            to = x + at[:, None] + q[None, :]
            tl.store(to + even * bonds, first + sign * second, mask=inside & (even >= 0))
            tl.store(to + odd * bonds, first - sign * second, mask=inside & (odd >= 0))
        else:
            to = x + even * bonds + at[:, None] + q[None, :]
            tl.store(to, first, mask=inside & (even >= 0))
            tl.store(to + channels, second, mask=inside & (even >= 0))


def gather(features: Tensor, source: Tensor, target: Tensor, frames: Tensor, blocks: BlockTable, x: Tensor) -> None:
    """Write both atoms' features in the frame of each bond, as inputs of the blocks.

    Parameters
    ----------
    features : Tensor
        (n, K, C) of the atoms.
    source, target : Tensor
        (B,) atoms of each bond.
    frames : Tensor
        (B, Σ_l (2l+1)²) rows of the Wigner matrices of each bond.
    blocks : BlockTable
        The blocks.
    x : Tensor
        Written: the inputs.
    """
    bonds, channels = len(source), features.shape[2]
    grid = (triton.cdiv(bonds, BONDS), blocks.l_max + 1)
    _gather[grid](
        features,
        source,
        target,
        frames,
        blocks.place,
        x,
        bonds,
        channels,
        blocks.l_max,
        frames.shape[1],
        1 if blocks.exchange else 2,
        BONDS,
        triton.next_power_of_2(channels),
    )


@triton.jit(do_not_specialize=["bonds"])
def _turn_back(
    dx,
    frames,
    place,
    ends,
    bonds,
    channels,
    L_MAX: tl.constexpr,
    FRAME: tl.constexpr,
    SIDES: tl.constexpr,
    BONDS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    l = tl.program_id(1)
    size = 2 * l + 1
    bond = tl.program_id(0) * BONDS + tl.arange(0, BONDS)
    q = tl.arange(0, CHANNELS)
    here = bond < bonds
    inside = here[:, None] & (q < channels)[None, :]
    rows = (L_MAX + 1) * (L_MAX + 1)
    turn = frames + bond.to(tl.int64) * FRAME + l * (2 * l - 1) * size // 3
    sign = 1 - 2 * (l % 2)
    for k in range(size):
        first = tl.zeros([BONDS, CHANNELS], dtype=dx.dtype.element_ty)
        second = tl.zeros([BONDS, CHANNELS], dtype=dx.dtype.element_ty)
        for row in range(size):
            order = tl.abs(row - l)
            components = tl.minimum(order, 1) + 1
            component = (row < l).to(tl.int32)
            inputs = (L_MAX + 1 - order) * SIDES * channels
            at = bond.to(tl.int64) * (components * inputs) + component * inputs + (l - order) * SIDES * channels
            w = tl.load(turn + row * size + k, mask=here, other=0.0)[:, None]
            even = tl.load(place + order)
            if SIDES == 1:
                odd = tl.load(place + L_MAX + 1 + order)
                to = dx + at[:, None] + q[None, :]
                a = tl.load(to + even * bonds, mask=inside & (even >= 0), other=0.0)
                b = tl.load(to + odd * bonds, mask=inside & (odd >= 0), other=0.0)
                first += w * (a + b)
                second += w * (sign * (a - b))
            else:
                to = dx + even * bonds + at[:, None] + q[None, :]
                first += w * tl.load(to, mask=inside & (even >= 0), other=0.0)
                second += w * tl.load(to + channels, mask=inside & (even >= 0), other=0.0)
        to = ends + ((bond.to(tl.int64) * rows + l * l + k) * channels)[:, None] + q[None, :]
        tl.store(to, first, mask=inside)
        tl.store(to + bonds.to(tl.int64) * rows * channels, second, mask=inside)


def scatter(
    dx: Tensor, incidence: Incidence, frames: Tensor, blocks: BlockTable, ends: Tensor, dfeatures: Tensor
) -> None:
    """Add the gradients of `gather` to those of the features.

    Parameters
    ----------
    dx : Tensor
        Gradient of the inputs, flat as in `gather`.
    incidence : Incidence
        Ends of the bonds by atom: the sources of all, then the targets of all.
    frames, blocks
        Arguments of `gather`.
    ends : Tensor
        (2·B, K, C), scratch memory.
    dfeatures : Tensor
        (n, K, C), added to.
    """
    bonds, channels = len(frames), dfeatures.shape[2]
    grid = (triton.cdiv(bonds, BONDS), blocks.l_max + 1)
    _turn_back[grid](
        dx,
        frames,
        blocks.place,
        ends,
        bonds,
        channels,
        blocks.l_max,
        frames.shape[1],
        1 if blocks.exchange else 2,
        BONDS,
        triton.next_power_of_2(channels),
    )
    add_segment_sums(ends, incidence.order, incidence.start, dfeatures)


@triton.jit(do_not_specialize=["bonds"])
def _modulate(y, add, factor, offset, sizes, h, scalars, bonds, channels, LATER: tl.constexpr, TILE: tl.constexpr):
    block = tl.program_id(1)
    own = sizes + block * FIELDS
    width, components = tl.load(own + WIDTH), tl.load(own + COMPONENTS)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    bond = place // width
    q = place - bond * width
    here = bond < bonds
    f = tl.load(factor + bond * channels + tl.load(own + START) + q, mask=here, other=0.0)
    if LATER:
        f += 1
    start = tl.load(own + ROW).to(tl.int64) * bonds
    for component in range(components):
        at = start + (bond * components + component) * width + q
        value = tl.load(y + at, mask=here, other=0.0) * f
        if LATER:
            value += tl.load(add + at, mask=here, other=0.0)
        if block == 0:
            if not LATER:
                value += tl.load(offset + bond * width + q, mask=here, other=0.0)
            root = tl.sqrt(1 + value * value)
            tl.store(scalars + bond * width + q, 0.5 * value * (1 + value / root), mask=here)
        tl.store(h + at, value, mask=here)


def modulate(
    y: Tensor, add: Tensor | None, factor: Tensor, offset: Tensor | None, blocks: BlockTable, h: Tensor, scalars: Tensor
) -> None:
    """Compute h = y·factor, with the offset added to the first block, or h = add + y·(1 + factor); and activate it.

    Parameters
    ----------
    y : Tensor
        Flat hidden values.
    add : Tensor or None
        Flat like h, in the second layer.
    factor : Tensor
        (B, channels).
    offset : Tensor or None
        (B, width of block 0), in the first layer.
    blocks : BlockTable
        The blocks.
    h : Tensor
        Written: flat hidden values.
    scalars : Tensor
        Written: (B, width of block 0), ½x(1 + x/√(1+x²)) of the first block.
    """
    bonds, channels = factor.shape
    grid = blocks.grid(bonds, blocks.widest)
    first, second = (y if add is None else add), (y if offset is None else offset)
    _modulate[grid](
        y, first, factor, second, blocks.sizes, h, scalars, bonds, channels, LATER=add is not None, TILE=TILE
    )


@triton.jit(do_not_specialize=["bonds"])
def _apply_gates(h, scalars, t, sizes, z, bonds, channels, TILE: tl.constexpr):
    block = tl.program_id(1)
    own = sizes + block * FIELDS
    width, components = tl.load(own + WIDTH), tl.load(own + COMPONENTS)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    bond = place // width
    q = place - bond * width
    here = bond < bonds
    raw = tl.load(t + bond * channels + tl.load(own + START) + q, mask=here, other=0.0)
    gate = 1 + raw / tl.sqrt(1 + raw * raw)
    start = tl.load(own + ROW).to(tl.int64) * bonds
    for component in range(components):
        at = start + (bond * components + component) * width + q
        if block == 0:
            value = tl.load(scalars + bond * width + q, mask=here, other=0.0)
        else:
            value = tl.load(h + at, mask=here, other=0.0)
        tl.store(z + at, value * gate, mask=here)


def apply_gates(h: Tensor, scalars: Tensor, t: Tensor, blocks: BlockTable, z: Tensor) -> None:
    """Compute z = h·(1 + t/√(1+t²)), with the scalars in place of the first block.

    Parameters
    ----------
    h : Tensor
        Flat hidden values.
    scalars : Tensor
        (B, width of block 0).
    t : Tensor
        (B, channels).
    blocks : BlockTable
        The blocks.
    z : Tensor
        Written: flat hidden values.
    """
    bonds, channels = t.shape
    _apply_gates[blocks.grid(bonds, blocks.widest)](h, scalars, t, blocks.sizes, z, bonds, channels, TILE)


@triton.jit(do_not_specialize=["bonds"])
def _gates_back(h, scalars, t, dz, sizes, dh, dscalars, dt, bonds, channels, TILE: tl.constexpr):
    block = tl.program_id(1)
    own = sizes + block * FIELDS
    width, components = tl.load(own + WIDTH), tl.load(own + COMPONENTS)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    bond = place // width
    q = place - bond * width
    here = bond < bonds
    channel = bond * channels + tl.load(own + START) + q
    raw = tl.load(t + channel, mask=here, other=0.0)
    inverse = 1 / tl.sqrt(1 + raw * raw)
    gate = 1 + raw * inverse
    slope = inverse * inverse * inverse
    start = tl.load(own + ROW).to(tl.int64) * bonds
    total = 0 * raw
    for component in range(components):
        at = start + (bond * components + component) * width + q
        above = tl.load(dz + at, mask=here, other=0.0)
        if block == 0:
            value = tl.load(scalars + bond * width + q, mask=here, other=0.0)
            tl.store(dscalars + bond * width + q, above * gate, mask=here)
        else:
            value = tl.load(h + at, mask=here, other=0.0)
            tl.store(dh + at, above * gate, mask=here)
        total += above * value
    tl.store(dt + channel, total * slope, mask=here)


def gates_back(
    h: Tensor, scalars: Tensor, t: Tensor, dz: Tensor, blocks: BlockTable, dh: Tensor, dscalars: Tensor, dt: Tensor
) -> None:
    """Compute the gradients of `apply_gates`.

    Parameters
    ----------
    h, scalars, t, blocks
        Arguments of `apply_gates`.
    dz : Tensor
        Gradient of z.
    dh : Tensor
        Written: gradient of h but for its first block.
    dscalars, dt : Tensor
        Written: (B, width of block 0) and (B, channels), gradients of scalars and t.
    """
    bonds, channels = t.shape
    _gates_back[blocks.grid(bonds, blocks.widest)](
        h, scalars, t, dz, blocks.sizes, dh, dscalars, dt, bonds, channels, TILE
    )


@triton.jit(do_not_specialize=["bonds"])
def _modulate_back(
    y, h, factor, sizes, dh, dscalars, more, dy, dfactor, bonds, channels, LATER: tl.constexpr, TILE: tl.constexpr
):
    block = tl.program_id(1)
    own = sizes + block * FIELDS
    width, components = tl.load(own + WIDTH), tl.load(own + COMPONENTS)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    bond = place // width
    q = place - bond * width
    here = bond < bonds
    channel = bond * channels + tl.load(own + START) + q
    f = tl.load(factor + channel, mask=here, other=0.0)
    if LATER:
        f += 1
    start = tl.load(own + ROW).to(tl.int64) * bonds
    total = 0 * f
    for component in range(components):
        at = start + (bond * components + component) * width + q
        if block == 0:
            value = tl.load(h + at, mask=here, other=0.0)
            inverse = 1 / tl.sqrt(1 + value * value)
            slope = 0.5 * (1 + value * inverse + value * inverse * inverse * inverse)
            above = tl.load(dscalars + bond * width + q, mask=here, other=0.0) * slope
        else:
            above = tl.load(dh + at, mask=here, other=0.0)
        if not LATER:
            above += tl.load(more + at, mask=here, other=0.0)
        tl.store(dh + at, above, mask=here)
        tl.store(dy + at, above * f, mask=here)
        total += above * tl.load(y + at, mask=here, other=0.0)
    tl.store(dfactor + channel, total, mask=here)


def modulate_back(
    y: Tensor,
    h: Tensor,
    factor: Tensor,
    blocks: BlockTable,
    dh: Tensor,
    dscalars: Tensor,
    more: Tensor | None,
    dy: Tensor,
    dfactor: Tensor,
) -> None:
    """Compute the gradients of `modulate`, those of its activation included.

    Parameters
    ----------
    y, h, factor, blocks
        Arguments of `modulate`.
    dh : Tensor
        Gradient of h but for its first block; completed here, with `more` added.
    dscalars : Tensor
        (B, width of block 0), gradient of the scalars.
    more : Tensor or None
        In the first layer: the gradient of h that comes from the second.
    dy, dfactor : Tensor
        Written: gradients of y and of the factors.
    """
    bonds, channels = factor.shape
    _modulate_back[blocks.grid(bonds, blocks.widest)](
        y,
        h,
        factor,
        blocks.sizes,
        dh,
        dscalars,
        y if more is None else more,
        dy,
        dfactor,
        bonds,
        channels,
        more is None,
        TILE,
    )


@triton.jit(do_not_specialize=["bonds"])
def _compare(o, envelope, values, weights, sizes, do, sums, bonds, columns, DELTA: tl.constexpr, TILE: tl.constexpr):
    block = tl.program_id(1)
    own = sizes + block * FIELDS
    outputs, components, column = tl.load(own + OUTPUTS), tl.load(own + COMPONENTS), tl.load(own + COLUMN)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    bond = place // tl.maximum(outputs, 1)
    q = place - bond * outputs
    here = (bond < bonds) & (outputs > 0)
    e = tl.load(envelope + bond, mask=here, other=0.0)
    target = bond.to(tl.int64) * columns + column + q
    w = tl.load(weights + target, mask=here, other=0.0)
    start = column.to(tl.int64) * bonds
    square = 0 * w
    for component in range(components):
        at = start + (bond * components + component) * outputs + q
        known = tl.load(values + target + component * outputs, mask=here, other=0.0)
        error = w * (tl.load(o + at, mask=here, other=0.0) * e - known)
        square += error * error
    if DELTA > 0:
        norm = tl.sqrt(square + DELTA * DELTA)
        factor = w * e / norm
        cost = tl.where(here, norm - DELTA, 0 * norm)
    else:
        factor = 2 * w * e
        cost = tl.where(here, square, 0 * square)
    for component in range(components):
        at = start + (bond * components + component) * outputs + q
        known = tl.load(values + target + component * outputs, mask=here, other=0.0)
        error = w * (tl.load(o + at, mask=here, other=0.0) * e - known)
        tl.store(do + at, error * factor, mask=here)
    total = tl.sum(cost, axis=0).to(tl.float64)
    tl.store(sums + block * tl.num_programs(0) + tl.program_id(0), total)


def compare(
    o: Tensor, envelope: Tensor, values: Tensor, weights: Tensor, huber_delta: float, blocks: BlockTable, do: Tensor
) -> Tensor:
    """Return `BondTargets.error` of the outputs o·envelope, and write its gradient.

    Parameters
    ----------
    o : Tensor
        Flat; block k is a (B, components, outputs) array at offset column_k·B.
    envelope : Tensor
        (B,) factors.
    values, weights : Tensor
        (B, columns), targets and their weights.
    huber_delta : float
        Delta of the pseudo-Huber loss; 0 for squares.
    blocks : BlockTable
        The blocks.
    do : Tensor
        Written: gradient with respect to o.

    Returns
    -------
    Tensor
        The error, a scalar of float64.
    """
    bonds, columns = values.shape
    grid = blocks.grid(bonds, blocks.most_outputs)
    sums = torch.empty(grid[0] * grid[1], dtype=torch.float64, device=o.device)
    _compare[grid](o, envelope, values, weights, blocks.sizes, do, sums, bonds, columns, huber_delta, TILE)
    return sums.sum()
