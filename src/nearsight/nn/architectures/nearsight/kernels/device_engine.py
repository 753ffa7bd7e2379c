"""The network `nearsight` over all bonds on a GPU: each pair of elements in few large chunks, forward and at once back.

A chunk is as large as is useful and as memory allows; where memory runs out nevertheless, the pass begins anew with
chunks of half the size. Nothing waits for the GPU, and all sums are made in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from nearsight.nn.architectures.nearsight.graph import Bonds, BondTargets, ElementPair
from nearsight.nn.architectures.nearsight.kernels.device_pass import DevicePass
from nearsight.nn.architectures.nearsight.kernels.engine import BondEngine, Sums
from nearsight.nn.architectures.nearsight.kernels.passes import PairWeights
from nearsight.nn.kernels.compilation import Buffers
from nearsight.nn.kernels.device_memory import rows_that_fit, with_smaller_chunks

LARGEST = 131_072
"""Bonds of a chunk beyond which more save no time."""

SMALLEST = 1024
"""Bonds of a chunk below which it is not divided when memory runs out."""

Visit = Callable[[DevicePass, ElementPair, slice, Sums], None]


class DeviceEngine(BondEngine):
    """The pass of a network's pairs over their bonds, on a GPU for which Triton compiles kernels.

    Parameters
    ----------
    network : PairNetworks
        The network whose pairs they are.
    """

    def over_chunks(
        self,
        features: Tensor,
        parameters: Sequence[Tensor],
        bonds: Mapping[ElementPair, Bonds],
        pairs: Sequence[ElementPair],
        visit: Visit,
        with_gradient: bool,
    ) -> Sums:
        """Run the forward pass on every chunk, then `visit` it (see `BondEngine.over_chunks`).

        Parameters
        ----------
        features, parameters, bonds, pairs, visit, with_gradient
            Arguments of `BondEngine.over_chunks`.

        Returns
        -------
        Sums
            The sums over all chunks; the error is a tensor.

        Raises
        ------
        NearsightError
            Not even the smallest chunks fit into the memory of the GPU.
        """
        features = features.detach().contiguous()
        weights = self._by_pair(pairs, [p.detach().contiguous() for p in parameters])

        def run(size: int) -> Sums:
            sums, buffers = self._sums(features, weights, with_gradient), Buffers(features.dtype, features.device)
            with torch.no_grad(), torch.cuda.device_of(features):
                for pair in pairs:
                    own = self._pass(pair, weights[pair], buffers)
                    for k in range(0, len(bonds[pair]), size):
                        batch = slice(k, min(k + size, len(bonds[pair])))
                        own.forward(features, bonds[pair].rows(batch))
                        visit(own, pair, batch, sums)
            return sums

        most = min(LARGEST, max((len(bonds[pair]) for pair in pairs), default=0))
        each = max((self._bytes_per_bond(pair, features) for pair in pairs), default=0)
        return with_smaller_chunks(run, rows_that_fit(features.device, most, each, SMALLEST), SMALLEST)

    def compared(
        self,
        features: Tensor,
        parameters: Sequence[Tensor],
        bonds: Mapping[ElementPair, Bonds],
        targets: Mapping[ElementPair, BondTargets],
        pairs: Sequence[ElementPair],
        with_gradient: bool,
    ) -> Sums:
        """Return the summed error of all bonds (see `BondEngine.compared`).

        Parameters
        ----------
        features, parameters, bonds, targets, pairs, with_gradient
            Arguments of `BondEngine.compared`.

        Returns
        -------
        Sums
            The error, a tensor, and its gradient.
        """

        def compare(own: DevicePass, pair: ElementPair, batch: slice, sums: Sums) -> None:
            sums.error += own.compare(targets[pair].rows(batch))
            if with_gradient:
                own.backward(sums.places[pair], sums.features)

        return self.over_chunks(features, parameters, bonds, pairs, compare, with_gradient)

    def _pass(self, pair: ElementPair, weights: Sequence[Tensor], buffers: Buffers) -> DevicePass:
        network, l_max = self.network.pair(pair), self.network.config.l_max
        return DevicePass(network, self._places(pair, weights), self.cutoff, buffers, l_max)

    def _zeros(self, pair: ElementPair, like: Sequence[Tensor]) -> PairWeights:
        return self._places(pair, [torch.zeros_like(t) for t in like])

    def _bytes_per_bond(self, pair: ElementPair, features: Tensor) -> int:
        """Return the memory of the buffers of a bond."""
        blocks = self.network.pair(pair).blocks
        inputs = sum(b.components * b.inputs for b in blocks)
        hidden = sum(b.components * b.width for b in blocks)
        outputs = sum(b.components * b.outputs for b in blocks)
        channels = sum(b.width for b in blocks)
        numbers = 2 * inputs + 10 * hidden + 2 * outputs + 8 * channels + 2 * features[0].numel()
        return numbers * features.element_size()
