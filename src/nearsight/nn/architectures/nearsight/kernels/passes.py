"""Passes over chunks of bonds: the network of a pair of elements, forward and backward.

The steps are those of `PairNetwork.forward`, each with its gradient. On a CPU a chunk is one call of a compiled
function for each direction (`chunk_loops.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.nearsight.graph import Bonds, BondTargets
from nearsight.nn.architectures.nearsight.kernels import chunk_loops, loops
from nearsight.nn.architectures.nearsight.pair_network import END, SCALE, PairNetwork
from nearsight.nn.kernels.compilation import Buffers


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
        The memory of all of them, one after another in the order of `parameters_of`, where they share one.
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
        """Return the weights from the order of `parameters_of`.

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
        t = list(tensors)
        return cls(
            t[:blocks],
            t[blocks : 2 * blocks],
            t[2 * blocks : 3 * blocks],
            t[3 * blocks : 3 * blocks + layers],
            t[3 * blocks + layers : 3 * blocks + 2 * layers],
            t[-1],
            flat,
        )

    def tensors(self) -> list[Tensor]:
        """Return all tensors in the order of `parameters_of`."""
        return [*self.first, *self.second, *self.last, *self.radial, *self.gates, self.offset]


def parameters_of(network: PairNetwork) -> list[Tensor]:
    """Return the weights of a network: first, second and last maps, radial functions, gates, offset."""
    lists = (network.first, network.second, network.last, network.radial, network.gates)
    return [p for group in lists for p in group] + [network.offset]


class BondPass(ABC):
    """The passes of one pair's network over chunks, with scratch memory.

    Call `forward`, then one of `outputs`, `last_hidden`, `compare` and `take`, and after the last two `backward`.

    Attributes
    ----------
    n : int
        Bonds of the last chunk.
    o, envelope : Tensor
        Outputs of the last chunk without envelope, block after block, and the envelope (B,).
    last : Tensor
        Its last hidden values, block after block.
    do : Tensor
        Gradient of `o`, after `compare` or `take`.

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
        columns = np.cumsum([0] + [b.components * b.outputs for b in self.blocks])
        self.sizes = np.array(
            [
                [b.inputs, b.width, b.components, b.start, b.row, b.outputs, columns[k], b.parity, b.order]
                for k, b in enumerate(self.blocks)
            ],
            dtype=np.int64,
        )
        self.place = np.cumsum([0] + [b.components * b.inputs for b in self.blocks])
        self.total, self.columns = int(self.place[-1]), int(columns[-1])
        self.hidden = self.blocks[-1].row + self.blocks[-1].width * self.blocks[-1].components
        self.channels = self.blocks[-1].start + self.blocks[-1].width
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
    def compare(self, targets: BondTargets) -> float | Tensor:
        """Return the error of the outputs; its gradient goes to `backward`."""

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
        self.do = self.buffer("do", self.n * self.columns)
        scaled = gradient * self.envelope[:, None]
        widths = [b.components * b.outputs for b in self.blocks]
        for place, part in zip(self._outputs(self.do), scaled.split(widths, 1)):
            place.copy_(part.reshape(place.shape))

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


@dataclass(frozen=True, eq=False)
class ChunkMemory:
    """Buffers of a chunk on a CPU, in the order of the arguments of `chunk_loops`.

    Attributes
    ----------
    splines : tuple of array
        Number of the first function of the bonds' lengths that is not zero, and four values.
    forward, backward : tuple of array
        What the forward pass leaves, and scratch memory of the backward pass.
    wide : array
        Scratch memory of narrow products.
    last, envelope, o : Tensor
        Last hidden values, envelope and outputs.
    """

    splines: tuple[np.ndarray, ...]
    forward: tuple[np.ndarray, ...]
    backward: tuple[np.ndarray, ...]
    wide: np.ndarray
    last: Tensor
    envelope: Tensor
    o: Tensor


class CompiledPass(BondPass):
    """The passes on a CPU; used like `BondPass`.

    Parameters
    ----------
    network, weights, cutoff, buffers
        Arguments of `BondPass`; the weights share one memory.
    """

    def __init__(self, network: PairNetwork, weights: PairWeights, cutoff: float, buffers: Buffers) -> None:
        super().__init__(network, weights, cutoff, buffers)
        counts = [p.numel() for p in parameters_of(network)]
        self.where = np.cumsum([0, *counts[:-1]])
        self.count = len(weights.offset)
        self.lengths = (float(cutoff), float(min(END, cutoff)), SCALE)
        self._chunks: dict[int, ChunkMemory] = {}

    def _memory(self, name: str, *shape: int) -> np.ndarray:
        return self.buffer(name, *shape).numpy()

    def _chunk_memory(self, n: int) -> ChunkMemory:
        """Return the buffers of a chunk of n bonds, which other passes of the thread have, too."""
        if n in self._chunks:
            return self._chunks[n]
        memory, hidden = self._memory, n * self.hidden
        forward = (
            memory("x", n * self.total),
            *(memory(name, hidden) for name in ("y", "h", "z", "y2", "h2", "z2")),
            *(memory(f"scalars {k}", n, self.scalars) for k in range(2)),
            *(memory(f"t {k}", n, self.channels) for k in range(2)),
        )
        backward = (
            memory("dx", n * self.total),
            *(memory(name, hidden) for name in ("dy", "dz", "dh", "dh2")),
            memory("dscalars", n, self.scalars),
            memory("dt", n, self.channels),
        )
        splines = np.empty(n, dtype=np.int64), memory("values", n, 4)
        wide = memory("wide", 2 * n * chunk_loops.NARROW)
        results = self.buffer("z2", hidden), self.buffer("envelope", n), self.buffer("o", n * self.columns)
        self._chunks[n] = ChunkMemory(splines, forward, backward, wide, *results)
        return self._chunks[n]

    def forward(self, features: Tensor, bonds: Bonds) -> None:
        """Compute the outputs without envelope (see `BondPass.forward`).

        Parameters
        ----------
        features, bonds
            Arguments of `BondPass.forward`.
        """
        self.n = n = len(bonds)
        self.ends = bonds.source.contiguous().numpy(), bonds.target.contiguous().numpy()
        self.frames = bonds.frames.contiguous().numpy()
        self.memory = self._chunk_memory(n)
        self.last, self.envelope, self.o = self.memory.last, self.memory.envelope, self.memory.o
        chunk_loops.forward(
            features.numpy(),
            *self.ends,
            bonds.distance.contiguous().numpy(),
            self.frames,
            self.sizes,
            self.place,
            self.where,
            self._flat(self.weights),
            self.count,
            self.lengths,
            *self.memory.splines,
            self.envelope.numpy(),
            *self.memory.forward,
            self.o.numpy(),
            self.memory.wide,
        )

    def compare(self, targets: BondTargets) -> float:
        """Return the error of the outputs; its gradient goes to `backward`."""
        self.do = self.buffer("do", self.n * self.columns)
        error = loops.compare(
            self.o.numpy(),
            self.envelope.numpy(),
            targets.values.contiguous().numpy(),
            targets.weights.contiguous().numpy(),
            targets.huber_delta,
            self.sizes,
            self.do.numpy(),
        )
        return float(error)

    def backward(self, sums: PairWeights, dfeatures: Tensor) -> None:
        """Add the gradients of weights and features (see `BondPass.backward`).

        Parameters
        ----------
        sums, dfeatures
            Arguments of `BondPass.backward`; the gradients of the weights share one memory.
        """
        chunk_loops.backward(
            *self.ends,
            self.frames,
            self.sizes,
            self.place,
            self.where,
            self._flat(self.weights),
            self.count,
            *self.memory.splines,
            *self.memory.forward,
            self.do.numpy(),
            *self.memory.backward,
            self.memory.wide,
            self._flat(sums),
            dfeatures.numpy(),
        )

    @staticmethod
    def _flat(weights: PairWeights) -> np.ndarray:
        assert weights.flat is not None, "the weights of a compiled pass share one memory"
        return weights.flat.numpy()
