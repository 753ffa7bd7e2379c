"""WeightAverage: the exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of all parameters over the last steps, about 1/(1 − decay) of them; over all while there are fewer.

    Args:
        network: whose parameters are averaged.
        decay: of the weight of older steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self._mean = {name: p.detach().clone() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Count the parameters after so many steps: mean ← k·mean + (1 − k)·p, k = min(decay, (1+step)/(10+step))."""
        keep = min(self.decay, (1 + step) / (10 + step))
        own = [p.detach() for p in self.network.parameters()]
        means = list(self._mean.values())
        torch._foreach_mul_(means, keep)
        torch._foreach_add_(means, own, alpha=1 - keep)

    def named(self) -> dict[str, Tensor]:
        """The averages by the names of the parameters."""
        return dict(self._mean)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take averages that `named` gave; other names are passed over."""
        for name, mean in self._mean.items():
            mean.copy_(state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network with the averages in place of its weights."""
        own = {name: p.detach().clone() for name, p in self.network.named_parameters()}
        self._put(self._mean)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, p in self.network.named_parameters():
            p.copy_(values[name])
