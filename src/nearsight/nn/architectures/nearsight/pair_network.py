"""PairNetwork: an O(2)-equivariant network in the frame of the bonds of one pair of elements.

A hidden block (p, m) holds channels of exchange parity p that turn with cos mφ and sin mφ about the bond. Linear maps
act inside a block with real weights; all blocks are multiplied by functions of the bond's length and by gates, which
see only the block (even, 0). So outputs turn like their inputs under rotations and reflections that keep the bond, and
under exchange of two atoms of one element.

The functions of the bond's length are cubic B-splines and an envelope that ends them smoothly at the cutoff.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from nearsight.baselines.radial_functions import cubic_b_splines
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.orbitals.bond_layout import BondLayout

LAYERS = 2
"""Number of hidden layers."""


@dataclass(frozen=True)
class HiddenBlock:
    """Sizes of one hidden block.

    Attributes
    ----------
    parity, order : int
        Exchange parity p and order m.
    inputs : int
        Columns of the first map: degrees l = m … l_max, for each the channels of both atoms.
    width : int
        Channels.
    outputs : int
        Channels of the output block (p, m); 0 where the pair has none.
    start : int
        Position of its first channel among those of all blocks.
    row : int
        Position of its first hidden column among those of all blocks; there are two components for m > 0.
    """

    parity: int
    order: int
    inputs: int
    width: int
    outputs: int
    start: int
    row: int

    @property
    def components(self) -> int:
        """Number of components: cos and sin, or one for m = 0."""
        return 1 if self.order == 0 else 2


def hidden_blocks(config: NearsightConfig, layout: BondLayout) -> tuple[HiddenBlock, ...]:
    """Return the hidden blocks of a pair's network.

    Parameters
    ----------
    config : NearsightConfig
        Sizes.
    layout : BondLayout
        Layout of the outputs.

    Returns
    -------
    tuple of HiddenBlock
        The blocks of the outputs within l_max, and (even, 0), which the gates read.
    """
    outputs = {(b.parity, b.order): b.channels for b in layout.blocks if b.order <= config.l_max}
    outputs.setdefault((0, 0), 0)
    atoms = 2 // layout.parities
    found, start, row = [], 0, 0
    for (parity, order), channels in sorted(outputs.items()):
        block = HiddenBlock(
            parity,
            order,
            (config.l_max + 1 - order) * atoms * config.channels,
            config.width(order),
            channels,
            start,
            row,
        )
        found.append(block)
        start += block.width
        row += block.width * block.components
    return tuple(found)


def gate(x: Tensor) -> Tensor:
    """Return 1 + x/√(1+x²), from 0 to 2; smooth, and cheap without an exponential."""
    return 1 + x * torch.rsqrt(1 + x * x)


def activation(x: Tensor) -> Tensor:
    """Return x·gate(x)/2."""
    return 0.5 * x * gate(x)


class PairNetwork(nn.Module):
    """Outputs of the bonds of one pair of elements, in the columns of its `BondLayout`.

    Parameters
    ----------
    config : NearsightConfig
        Sizes.
    layout : BondLayout
        Layout of the outputs.
    """

    def __init__(self, config: NearsightConfig, layout: BondLayout) -> None:
        super().__init__()
        self.layout, self.blocks = layout, hidden_blocks(config, layout)
        scalars, widths = config.width(0), [b.width for b in self.blocks]
        total, radial = sum(widths), config.bond_functions
        self.first = _maps([(b.inputs, b.width) for b in self.blocks])
        self.second = _maps([(b.width, b.width) for b in self.blocks])
        self.last = _maps([(b.width, b.outputs) for b in self.blocks], 0.1)
        self.radial = _maps([(radial, total)] * LAYERS)
        self.offset = nn.Parameter(_random(radial, scalars))
        self.gates = _maps([(scalars, total)] * LAYERS)

    @cached_property
    def weights(self) -> tuple[nn.Parameter, ...]:
        """All parameters: offset, first, second and last maps, radial functions, gates."""
        return tuple(self.parameters())

    @cached_property
    def widths(self) -> list[int]:
        """Number of channels of each hidden block."""
        return [b.width for b in self.blocks]

    def forward(self, inputs: Sequence[Tensor], radial: Tensor, envelope: Tensor) -> Tensor:
        """Return the outputs of bonds.

        Parameters
        ----------
        inputs : sequence of Tensor
            (e, components, inputs) for each hidden block, both atoms' features in the frame of the bond.
        radial : Tensor
            (e, bond_functions), functions of the length.
        envelope : Tensor
            (e,), a factor that vanishes at the cutoff.

        Returns
        -------
        Tensor
            (e, layout.width).
        """
        last = self.last_hidden(inputs, radial)
        parts = [z @ w for z, w, b in zip(last, self.last, self.blocks) if b.outputs]
        return torch.cat([part.flatten(1) for part in parts], dim=1) * envelope[:, None]

    def last_hidden(self, inputs: Sequence[Tensor], radial: Tensor) -> list[Tensor]:
        """Return the last hidden values: the outputs are linear in them.

        Parameters
        ----------
        inputs : sequence of Tensor
            (e, components, inputs) for each hidden block.
        radial : Tensor
            (e, bond_functions), functions of the length.

        Returns
        -------
        list of Tensor
            (e, components, width) for each hidden block.
        """
        factors = (radial @ self.radial[0]).split(self.widths, dim=1)
        hidden = [(x @ w) * f[:, None] for x, w, f in zip(inputs, self.first, factors)]
        hidden[0] = hidden[0] + (radial @ self.offset)[:, None]
        gated = self._gated(hidden, 0)
        factors = (1 + radial @ self.radial[1]).split(self.widths, dim=1)
        hidden = [h + (z @ w) * f[:, None] for h, z, w, f in zip(hidden, gated, self.second, factors)]
        return self._gated(hidden, 1)

    def _gated(self, hidden: Sequence[Tensor], layer: int) -> list[Tensor]:
        scalars = activation(hidden[0][:, 0])
        gates = gate(scalars @ self.gates[layer]).split(self.widths, dim=1)
        return [h * g[:, None] for h, g in zip([scalars[:, None], *hidden[1:]], gates)]


def _maps(shapes: Sequence[tuple[int, int]], scale: float = 1.0) -> nn.ParameterList:
    return nn.ParameterList([nn.Parameter(scale * _random(*shape)) for shape in shapes])


def _random(inputs: int, outputs: int) -> Tensor:
    return torch.randn(inputs, outputs) / math.sqrt(inputs)


SCALE = 3.0
"""Factor of the splines, so that their squares add up to about one."""

END = 1.0
"""Length before the cutoff on which outputs fall to zero, Å."""


def splines(distance: Tensor, count: int, cutoff: float) -> Tensor:
    """Return cubic B-splines of the bond length, times `SCALE`.

    They are uniform in s = count · r / cutoff; number k is non-zero on k − 3 < s < k + 1. Inside the cutoff they are
    those of `baselines.RadialFunctions`.

    Parameters
    ----------
    distance : Tensor
        (e,) Å.
    count : int
        Number of functions.
    cutoff : float
        Cutoff in Å.

    Returns
    -------
    Tensor
        (e, count).
    """
    s = distance * (count / cutoff)
    interval = s.floor()
    place = interval.long()[:, None] + torch.arange(4, device=distance.device)
    values = distance.new_zeros(len(distance), count + 4)
    parts = torch.stack(cubic_b_splines(s - interval), dim=1)
    return SCALE * values.scatter(1, place.clamp(max=count + 3), parts)[:, :count]


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """Return a factor that ends the outputs smoothly at the cutoff.

    Parameters
    ----------
    distance : Tensor
        (e,) Å.
    cutoff : float
        Cutoff in Å.

    Returns
    -------
    Tensor
        (e,) 1, and over the last Å a polynomial with two continuous derivatives down to 0 at the cutoff.
    """
    end = min(END, cutoff)
    x = ((distance - (cutoff - end)) / end).clamp(0, 1)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2)
