"""One thread's passes over chunks of bonds: the network of a pair of elements, forward and backward.

The steps are those of `PairNetwork.forward`, each with its gradient; products go to BLAS with preallocated results,
everything between them to compiled loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.nearsight.graph import Bonds, BondTargets
from nearsight.nn.architectures.nearsight.kernels import loops
from nearsight.nn.architectures.nearsight.pair_network import SCALE, PairNetwork, envelope
from nearsight.nn.kernels.compilation import Buffers

NOTHING: dict[torch.dtype, np.ndarray] = {
    torch.float32: np.empty((0, 0), np.float32),
    torch.float64: np.empty((0, 0), np.float64),
}


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
    """

    first: list[Tensor]
    second: list[Tensor]
    last: list[Tensor]
    radial: list[Tensor]
    gates: list[Tensor]
    offset: Tensor

    @classmethod
    def of(cls, tensors: Sequence[Tensor], blocks: int, layers: int) -> PairWeights:
        """Return the weights from the order of `parameters_of`.

        Parameters
        ----------
        tensors : sequence of Tensor
            All tensors of a pair.
        blocks, layers : int
            Numbers of hidden blocks and of layers.

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
        )


def parameters_of(network: PairNetwork) -> list[Tensor]:
    """Return the weights of a network: first, second and last maps, radial functions, gates, offset."""
    lists = (network.first, network.second, network.last, network.radial, network.gates)
    return [p for group in lists for p in group] + [network.offset]


class BondPass:
    """The passes of one pair's network over chunks, with scratch memory.

    Call `forward`, then one of `outputs`, `last_hidden`, `compare` and `take`, and after the last two `backward`.

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

    def forward(self, features: Tensor, bonds: Bonds) -> None:
        """Compute the outputs without envelope.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels) of the atoms.
        bonds : Bonds
            The chunk.
        """
        w, buffer, n = self.weights, self.buffer, len(bonds)
        self.n, self.bonds, self.features = n, bonds, features
        self.geometry = (bonds.source.numpy(), bonds.target.numpy(), bonds.frames.numpy(), self.sizes, self.place)
        self.envelope = envelope(bonds.distance, self.cutoff)
        self.spline = np.empty(n, dtype=np.int64), buffer("values", n, 4).numpy()
        loops.splines(bonds.distance.numpy(), len(w.offset), self.cutoff, SCALE, *self.spline)
        self.x = buffer("x", n * self.total)
        loops.gather(features.numpy(), *self.geometry, self.x.numpy())
        self.y = self._product("y", self._inputs(self.x), w.first)
        self.h = self._modulated("h", self.y, None, 0)
        self.gated = [self._gate(self.h, 0)]
        self.y2 = self._product("y2", self._hidden(self.gated[0][2]), w.second)
        self.h2 = self._modulated("h2", self.y2, self.h, 1)
        self.gated.append(self._gate(self.h2, 1))
        self.o = buffer("o", n * self.columns)
        for z, weight, out in zip(self._hidden(self.gated[1][2]), w.last, self._outputs(self.o)):
            if weight.shape[1]:
                torch.mm(z, weight, out=out)

    def last_hidden(self) -> list[Tensor]:
        """Return (B, components, width) for each block, the last hidden values."""
        return [
            z.view(self.n, b.components, b.width).clone() for z, b in zip(self._hidden(self.gated[1][2]), self.blocks)
        ]

    def outputs(self) -> Tensor:
        """Return the outputs (B, columns), with envelope."""
        parts = [o.view(self.n, -1) for o in self._outputs(self.o)]
        return torch.cat(parts, dim=1) * self.envelope[:, None]

    def compare(self, targets: BondTargets) -> float | Tensor:
        """Return the error of the outputs; its gradient goes to `backward`."""
        self.do = self.buffer("do", self.n * self.columns)
        return float(
            loops.compare(
                self.o.numpy(),
                self.envelope.numpy(),
                targets.values.numpy(),
                targets.weights.numpy(),
                targets.huber_delta,
                self.sizes,
                self.do.numpy(),
            )
        )

    def take(self, gradient: Tensor) -> None:
        """Take the gradient (B, columns) of the outputs, for `backward`."""
        self.do = self.buffer("do", self.n * self.columns)
        scaled = gradient * self.envelope[:, None]
        widths = [b.components * b.outputs for b in self.blocks]
        for place, part in zip(self._outputs(self.do), scaled.split(widths, 1)):
            place.copy_(part.reshape(place.shape))

    def backward(self, sums: PairWeights, dfeatures: Tensor) -> None:
        """Add the gradients of weights and features.

        Parameters
        ----------
        sums : PairWeights
            Gradients of the weights, added to.
        dfeatures : Tensor
            (n, (l_max+1)², channels), gradient of the features, added to.
        """
        w, dz = self.weights, self.buffer("dz", self.n * self.hidden)
        for z, o, out, weight, dweight in zip(
            self._hidden(self.gated[1][2]), self._outputs(self.do), self._hidden(dz), w.last, sums.last
        ):
            if weight.shape[1]:
                dweight.addmm_(z.T, o)
                torch.mm(o, weight.T, out=out)
            else:
                out.zero_()
        dh = self._gate_back(self.h2, 1, dz, sums, "dh")
        dy = self._modulate_back(self.y2, dh, 1, sums)
        self._product_back(self._hidden(self.gated[0][2]), dy, w.second, sums.second, self._hidden(dz))
        more = self._gate_back(self.h, 0, dz, sums, "dh first")
        more += dh
        dy = self._modulate_back(self.y, more, 0, sums)
        dx = self.buffer("dx", self.n * self.total)
        self._product_back(self._inputs(self.x), dy, w.first, sums.first, self._inputs(dx))
        loops.scatter(dx.numpy(), *self.geometry, dfeatures.numpy())

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

    def _product(self, name: str, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        flat = self.buffer(name, self.n * self.hidden)
        for x, weight, out in zip(inputs, weights, self._hidden(flat)):
            torch.mm(x, weight, out=out)
        return flat

    @staticmethod
    def _product_back(
        inputs: Sequence[Tensor],
        dy: Sequence[Tensor],
        weights: Sequence[Tensor],
        dweights: Sequence[Tensor],
        dx: Sequence[Tensor],
    ) -> None:
        for x, above, weight, dweight, out in zip(inputs, dy, weights, dweights, dx):
            dweight.addmm_(x.T, above)
            torch.mm(above, weight.T, out=out)

    def _modulated(self, name: str, y: Tensor, add: Tensor | None, layer: int) -> Tensor:
        h, nothing = self.buffer(name, self.n * self.hidden), NOTHING[y.dtype]
        offset = nothing if layer else self.weights.offset.numpy()
        loops.modulate(
            y.numpy(),
            nothing[0:0].reshape(0) if add is None else add.numpy(),
            layer,
            *self.spline,
            self.weights.radial[layer].numpy(),
            offset,
            self.sizes,
            h.numpy(),
        )
        return h

    def _modulate_back(self, y: Tensor, dh: Tensor, layer: int, sums: PairWeights) -> list[Tensor]:
        dy = self.buffer("dy", self.n * self.hidden)
        offset = NOTHING[y.dtype] if layer else sums.offset.numpy()
        loops.modulate_back(
            y.numpy(),
            dh.numpy(),
            layer,
            *self.spline,
            self.weights.radial[layer].numpy(),
            self.sizes,
            dy.numpy(),
            sums.radial[layer].numpy(),
            offset,
        )
        return self._hidden(dy)

    def _gate(self, h: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scalars (B, width), the arguments of the gates (B, channels), and the gated blocks."""
        scalars = self.buffer(f"scalars {layer}", self.n, self.scalars)
        loops.activate(h.numpy(), self.scalars, self.n, scalars.numpy())
        t = torch.mm(scalars, self.weights.gates[layer], out=self.buffer(f"gates {layer}", self.n, self.channels))
        z = self.buffer(f"z {layer}", self.n * self.hidden)
        loops.apply_gates(h.numpy(), scalars.numpy(), t.numpy(), self.sizes, z.numpy())
        return scalars, t, z

    def _gate_back(self, h: Tensor, layer: int, dz: Tensor, sums: PairWeights, name: str) -> Tensor:
        scalars, t, _ = self.gated[layer]
        dh, dt = self.buffer(name, self.n * self.hidden), self.buffer("dt", self.n, self.channels)
        dscalars = self.buffer("dscalars", self.n, self.scalars)
        loops.gates_back(
            h.numpy(), scalars.numpy(), t.numpy(), dz.numpy(), self.sizes, dh.numpy(), dscalars.numpy(), dt.numpy()
        )
        sums.gates[layer].addmm_(scalars.T, dt)
        dscalars.addmm_(dt, self.weights.gates[layer].T)
        loops.activate_back(h.numpy(), self.scalars, self.n, dscalars.numpy(), dh.numpy())
        return dh
