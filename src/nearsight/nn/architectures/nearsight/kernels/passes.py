"""Passes over chunks of bonds: the network of a pair of elements, forward and backward.

The steps are those of `PairNetwork.forward`, each with its gradient. On a CPU a chunk is one call of a compiled
function for each direction (`chunk_loops.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.nearsight.graph import Bonds
from nearsight.nn.architectures.nearsight.kernels import chunk_loops, loops
from nearsight.nn.architectures.nearsight.pair_network import END, SCALE, PairNetwork
from nearsight.nn.kernels.compilation import Buffers
from nearsight.nn.kernels.vectors import LANES, lanes_of


@dataclass(frozen=True, eq=False)
class PairWeights:
    """Detached weights of a `PairNetwork`, or the places of their gradients.

    Attributes
    ----------
    first, second, last : list of Tensor
        Linear maps, one for each block.
    radial, gates : list of Tensor
        Maps from radial functions and to gates, one for each layer.
    offset : Tensor
        (bond_functions, width of block 0).
    flat : Tensor or None
        The memory of all of them, one after another in the order of `PairNetwork.weights`, where they share one.
    """

    first: list[Tensor]
    second: list[Tensor]
    last: list[Tensor]
    radial: list[Tensor]
    gates: list[Tensor]
    offset: Tensor
    flat: Tensor | None = None

    @classmethod
    def of(cls, tensors: Sequence[Tensor], blocks: int, layers: int, flat: Tensor | None = None) -> PairWeights:
        """Return the weights from the order of `PairNetwork.weights`.

        Parameters
        ----------
        tensors : sequence of Tensor
            All tensors of a pair.
        blocks, layers : int
            Numbers of hidden blocks and of layers.
        flat : Tensor, optional
            Their memory, where they share one.

        Returns
        -------
        PairWeights
            The same tensors by their meaning.
        """
        offset, *t = tensors
        return cls(
            t[:blocks],
            t[blocks : 2 * blocks],
            t[2 * blocks : 3 * blocks],
            t[3 * blocks : 3 * blocks + layers],
            t[3 * blocks + layers : 3 * blocks + 2 * layers],
            offset,
            flat,
        )

    def tensors(self) -> list[Tensor]:
        """Return all tensors in the order of `PairNetwork.weights`."""
        return [self.offset, *self.first, *self.second, *self.last, *self.radial, *self.gates]


@dataclass(frozen=True, eq=False)
class PassSizes:
    """Sizes of the network of a pair, as the loops want them.

    Attributes
    ----------
    sizes : ndarray
        (blocks, 9), see `loops`.
    place : ndarray
        (blocks + 1,) offsets of the blocks' inputs, divided by the number of bonds.
    where : ndarray
        (parameters,) offsets of the weights in one memory, maps and gates before the offset as `chunk_loops` wants it.
    parts : ndarray
        Where arrays lie in the memory of a chunk (`chunk_loops.memory_parts`).
    filled : bool
        Whether the widths of all blocks fill vectors.
    functions : int
        Number of functions of the length of a bond.
    """

    sizes: np.ndarray
    place: np.ndarray
    where: np.ndarray
    parts: np.ndarray
    filled: bool
    functions: int

    @classmethod
    def of(cls, network: PairNetwork) -> PassSizes:
        """Return the sizes of a network, which are computed once."""
        known: PassSizes | None = _SIZES.get(network)
        if known is None:
            known = _SIZES[network] = cls._computed(network)
        return known

    @classmethod
    def _computed(cls, network: PairNetwork) -> PassSizes:
        blocks = network.blocks
        columns = np.cumsum([0] + [b.components * b.outputs for b in blocks])
        rows = [
            [b.inputs, b.width, b.components, b.start, b.row, b.outputs, columns[k], b.parity, b.order]
            for k, b in enumerate(blocks)
        ]
        offset, *others = np.cumsum([0] + [p.numel() for p in network.weights[:-1]])
        sizes, place = np.array(rows, dtype=np.int64), np.cumsum([0] + [b.components * b.inputs for b in blocks])
        parts, filled = chunk_loops.memory_parts(sizes, int(place[-1])), lanes_of(*network.widths) == LANES
        return cls(sizes, place, np.array([*others, offset]), parts, filled, len(network.offset))


_SIZES: WeakKeyDictionary[PairNetwork, PassSizes] = WeakKeyDictionary()


class BondPass(ABC):
    """The passes of one pair's network over chunks, with scratch memory.

    Call `forward`, then one of `outputs`, `last_hidden` and `take`, and after the last `backward`.

    Attributes
    ----------
    n : int
        Bonds of the last chunk.
    o, envelope : Tensor
        Outputs of the last chunk without envelope, block after block, and the envelope (B,).
    last : Tensor
        Its last hidden values, block after block.
    do : Tensor
        Gradient of `o`, after `take`.

    Parameters
    ----------
    network : PairNetwork
        The pair's network, of which the sizes are read.
    weights : PairWeights
        Its weights, detached.
    cutoff : float
        Cutoff in Å.
    buffers : Buffers
        Scratch memory of the thread.
    """

    n: int
    o: Tensor
    envelope: Tensor
    last: Tensor
    do: Tensor

    def __init__(self, network: PairNetwork, weights: PairWeights, cutoff: float, buffers: Buffers) -> None:
        self.blocks, self.weights, self.cutoff, self.buffer = network.blocks, weights, cutoff, buffers
        own, last = PassSizes.of(network), self.blocks[-1]
        self.sizes, self.place, self.where = own.sizes, own.place, own.where
        self.total, self.columns = int(self.place[-1]), sum(b.components * b.outputs for b in self.blocks)
        self.hidden = last.row + last.width * last.components
        self.channels = last.start + last.width
        self.scalars = self.blocks[0].width

    @abstractmethod
    def forward(self, features: Tensor, bonds: Bonds) -> None:
        """Compute the outputs without envelope.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels) of the atoms.
        bonds : Bonds
            The chunk.
        """

    @abstractmethod
    def backward(self, sums: PairWeights, dfeatures: Tensor) -> None:
        """Add the gradients of weights and features.

        Parameters
        ----------
        sums : PairWeights
            Gradients of the weights, added to.
        dfeatures : Tensor
            (n, (l_max+1)², channels), gradient of the features, added to.
        """

    def last_hidden(self) -> list[Tensor]:
        """Return (B, components, width) for each block, the last hidden values, in memory of this chunk."""
        return [z.view(self.n, b.components, b.width) for z, b in zip(self._hidden(self.last), self.blocks)]

    def outputs(self) -> Tensor:
        """Return the outputs (B, columns), with envelope."""
        parts = [o.view(self.n, -1) for o in self._outputs(self.o)]
        return torch.cat(parts, dim=1) * self.envelope[:, None]

    def take(self, gradient: Tensor) -> None:
        """Take the gradient (B, columns) of the outputs, for `backward`."""
        self.do = self._gradient_of_outputs()
        scaled = gradient * self.envelope[:, None]
        widths = [b.components * b.outputs for b in self.blocks]
        for place, part in zip(self._outputs(self.do), scaled.split(widths, 1)):
            place.copy_(part.reshape(place.shape))

    def _gradient_of_outputs(self) -> Tensor:
        """Return the memory of `do`."""
        return self.buffer("do", self.n * self.columns)

    def _inputs(self, flat: Tensor) -> list[Tensor]:
        return [
            flat[self.n * at : self.n * (at + b.components * b.inputs)].view(-1, b.inputs)
            for at, b in zip(self.place, self.blocks)
        ]

    def _hidden(self, flat: Tensor) -> list[Tensor]:
        return [flat[self.n * b.row : self.n * (b.row + b.components * b.width)].view(-1, b.width) for b in self.blocks]

    def _outputs(self, flat: Tensor) -> list[Tensor]:
        return [
            flat[self.n * at : self.n * (at + b.components * b.outputs)].view(self.n * b.components, b.outputs)
            for at, b in zip(self.sizes[:, loops.COLUMN], self.blocks)
        ]


class CompiledPass(BondPass):
    """The passes on a CPU; used like `BondPass`.

    Parameters
    ----------
    network, weights, cutoff, buffers
        Arguments of `BondPass`; the weights share one memory.
    """

    def __init__(self, network: PairNetwork, weights: PairWeights, cutoff: float, buffers: Buffers) -> None:
        super().__init__(network, weights, cutoff, buffers)
        own = PassSizes.of(network)
        self.parts, self.filled = own.parts, own.filled
        self.lengths = (float(cutoff), float(min(END, cutoff)), SCALE)

    @cached_property
    def layout(self) -> tuple[Any, ...]:
        """Sizes and weights, arguments of all loops."""
        return self.sizes, self.place, self.where, self._flat(self.weights), len(self.weights.offset)

    def forward(self, features: Tensor, bonds: Bonds) -> None:
        """Compute the outputs without envelope (see `BondPass.forward`).

        Parameters
        ----------
        features, bonds
            Arguments of `BondPass.forward`.
        """
        self.n, arrays = len(bonds), bonds.arrays
        self.bonds, self.first = (arrays[0], arrays[1], arrays[3]), np.empty(self.n, dtype=np.int64)
        chunk_loops.forward(
            features.numpy(),
            *arrays,
            *self.layout,
            self.lengths,
            self.parts,
            self.filled,
            self.first,
            self._memory(self.n),
        )
        self.last, self.envelope, self.o = (
            self._part(k) for k in (chunk_loops.Z2, chunk_loops.ENVELOPE, chunk_loops.OUT)
        )

    def backward(self, sums: PairWeights, dfeatures: Tensor) -> None:
        """Add the gradients of weights and features (see `BondPass.backward`).

        Parameters
        ----------
        sums, dfeatures
            Arguments of `BondPass.backward`; the gradients of the weights share one memory.
        """
        memory = self._memory(self.n)
        gradients = self._flat(sums), dfeatures.numpy()
        chunk_loops.backward(*self.bonds, *self.layout, self.parts, self.filled, self.first, memory, *gradients)

    def _gradient_of_outputs(self) -> Tensor:
        return self._part(chunk_loops.DOUT)

    def _memory(self, bonds: int) -> np.ndarray:
        """Return the memory of a chunk, which other passes of the thread have, too."""
        return self.buffer.array("chunk", bonds * int(self.parts[-1]))

    def _part(self, k: int) -> Tensor:
        """Return one array of the present chunk, flat."""
        memory = self.buffer("chunk", self.n * int(self.parts[-1]))
        return memory[self.n * self.parts[k] : self.n * self.parts[k + 1]]

    @staticmethod
    def _flat(weights: PairWeights) -> np.ndarray:
        assert weights.flat is not None, "the weights of a compiled pass share one memory"
        return weights.flat.numpy()
