"""The passes of `passes.py` over chunks of bonds on a GPU: matrix products of cuBLAS, and Triton between them."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from nearsight.nn.architectures.nearsight.graph import Bonds, BondTargets
from nearsight.nn.architectures.nearsight.kernels import device_loops as loops
from nearsight.nn.architectures.nearsight.kernels.passes import BondPass, PairWeights
from nearsight.nn.architectures.nearsight.pair_network import END, SCALE, PairNetwork
from nearsight.nn.kernels.compilation import Buffers
from nearsight.nn.kernels.tall_products import add_tall_product

_TABLES: WeakKeyDictionary[PairNetwork, dict[torch.device, loops.BlockTable]] = WeakKeyDictionary()


class DevicePass(BondPass):
    """The passes of one pair's network over large chunks on a GPU; used like `BondPass`.

    Parameters
    ----------
    network, weights, cutoff, buffers
        Arguments of `BondPass`, the tensors on one GPU.
    l_max : int
        Highest degree of the features.
    """

    def __init__(self, network: PairNetwork, weights: PairWeights, cutoff: float, buffers: Buffers, l_max: int) -> None:
        super().__init__(network, weights, cutoff, buffers)
        self.l_max = l_max
        self.table = self._table(network)

    def _table(self, network: PairNetwork) -> loops.BlockTable:
        """Sizes of the blocks; they are copied to each GPU once, as a copy waits for all that is under way."""
        device, known = self.weights.offset.device, _TABLES.setdefault(network, {})
        if device not in known:
            place = torch.full((2, self.l_max + 1), -1)
            for at, block in zip(self.place.tolist(), self.blocks):
                place[block.parity, block.order] = at
            known[device] = loops.BlockTable(
                torch.as_tensor(self.sizes, dtype=torch.int32).to(device),
                place.to(device),
                max(b.width for b in self.blocks),
                max(b.outputs for b in self.blocks),
                network.layout.parities == 2,
            )
        return known[device]

    def forward(self, features: Tensor, bonds: Bonds) -> None:
        """Compute the outputs without envelope (see `BondPass.forward`).

        Parameters
        ----------
        features, bonds
            Arguments of `BondPass.forward`.
        """
        w, buffer, n, table = self.weights, self.buffer, len(bonds), self.table
        self.n, self.bonds, self.features = n, bonds, features
        self.envelope, self.splines = buffer("envelope", n), buffer("splines", n, len(w.offset))
        loops.lengths(bonds.distance, self.cutoff, min(END, self.cutoff), SCALE, self.splines, self.envelope)
        self.factors = [torch.mm(self.splines, w.radial[k], out=buffer(f"f {k}", n, self.channels)) for k in (0, 1)]
        offset = torch.mm(self.splines, w.offset, out=buffer("offset", n, self.scalars))
        self.x = buffer("x", n * self.total)
        loops.gather(features, bonds.source, bonds.target, bonds.frames, table, self.x)
        self.y = self._product("y", self._inputs(self.x), w.first)
        self.h = buffer("h", n * self.hidden)
        scalars = buffer("scalars 0", n, self.scalars)
        loops.modulate(self.y, None, self.factors[0], offset, table, self.h, scalars)
        self.gated = [self._gate(self.h, 0)]
        self.y2 = self._product("y2", self._hidden(self.gated[0][2]), w.second)
        self.h2 = buffer("h2", n * self.hidden)
        scalars = buffer("scalars 1", n, self.scalars)
        loops.modulate(self.y2, self.h, self.factors[1], None, table, self.h2, scalars)
        self.gated.append(self._gate(self.h2, 1))
        self.last = self.gated[1][2]
        self.o = buffer("o", n * self.columns)
        for z, weight, out in zip(self._hidden(self.gated[1][2]), w.last, self._outputs(self.o)):
            if weight.shape[1]:
                torch.mm(z, weight, out=out)

    def compare(self, targets: BondTargets) -> Tensor:
        """Return the error of the outputs, a scalar of float64 on the GPU; its gradient goes to `backward`."""
        self.do = self.buffer("do", self.n * self.columns)
        return loops.compare(
            self.o, self.envelope, targets.values, targets.weights, targets.huber_delta, self.table, self.do
        )

    def backward(self, sums: PairWeights, dfeatures: Tensor) -> None:
        """Add the gradients of weights and features (see `BondPass.backward`).

        Parameters
        ----------
        sums, dfeatures
            Arguments of `BondPass.backward`.
        """
        w, dz = self.weights, self.buffer("dz", self.n * self.hidden)
        for z, o, out, weight, dweight in zip(
            self._hidden(self.gated[1][2]), self._outputs(self.do), self._hidden(dz), w.last, sums.last
        ):
            if weight.shape[1]:
                add_tall_product(dweight, z, o)
                torch.mm(o, weight.T, out=out)
            else:
                out.zero_()
        dh = self.buffer("dh", self.n * self.hidden)
        dy = self._layer_back(1, dz, dh, None, sums)
        self._product_back(self._hidden(self.gated[0][2]), dy, w.second, sums.second, self._hidden(dz))
        first = self.buffer("dh first", self.n * self.hidden)
        dy = self._layer_back(0, dz, first, dh, sums)
        add_tall_product(sums.offset, self.splines, self._hidden(first)[0])
        dx = self.buffer("dx", self.n * self.total)
        self._product_back(self._inputs(self.x), dy, w.first, sums.first, self._inputs(dx))
        ends = self.buffer("ends", 2 * self.n, *dfeatures.shape[1:])
        loops.scatter(dx, self.bonds.ends(len(dfeatures)), self.bonds.frames, self.table, ends, dfeatures)

    def _product(self, name: str, inputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
        flat = self.buffer(name, self.n * self.hidden)
        for x, weight, out in zip(inputs, weights, self._hidden(flat)):
            torch.mm(x, weight, out=out)
        return flat

    @staticmethod
    def _product_back(inputs, dy, weights, dweights, dx):  # type: ignore[no-untyped-def]
        for x, above, weight, dweight, out in zip(inputs, dy, weights, dweights, dx):
            add_tall_product(dweight, x, above)
            torch.mm(above, weight.T, out=out)

    def _gate(self, h: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        scalars = self.buffer(f"scalars {layer}", self.n, self.scalars)
        t = torch.mm(scalars, self.weights.gates[layer], out=self.buffer(f"gates {layer}", self.n, self.channels))
        z = self.buffer(f"z {layer}", self.n * self.hidden)
        loops.apply_gates(h, scalars, t, self.table, z)
        return scalars, t, z

    def _layer_back(self, layer: int, dz: Tensor, dh: Tensor, more: Tensor | None, sums: PairWeights) -> list[Tensor]:
        """Write the gradient of a layer's h, and return that of its products, block by block."""
        buffer, n, (scalars, t, _) = self.buffer, self.n, self.gated[layer]
        h, y = (self.h2, self.y2) if layer else (self.h, self.y)
        dt, dscalars = buffer("dt", n, self.channels), buffer("dscalars", n, self.scalars)
        loops.gates_back(h, scalars, t, dz, self.table, dh, dscalars, dt)
        add_tall_product(sums.gates[layer], scalars, dt)
        dscalars.addmm_(dt, self.weights.gates[layer].T)
        dy, dfactor = buffer("dy", n * self.hidden), buffer("df", n, self.channels)
        loops.modulate_back(y, h, self.factors[layer], self.table, dh, dscalars, more, dy, dfactor)
        add_tall_product(sums.radial[layer], self.splines, dfactor)
        return self._hidden(dy)
