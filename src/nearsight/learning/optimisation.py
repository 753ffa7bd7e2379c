"""The learning rate: lowered when progress stops, or along a cosine over the time of the run.

WeightAverage: the exponential moving average of a network's weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nearsight.learning.config import OptimizerConfig


class Schedule:
    """Sets an optimiser's learning rate.

    Args:
        optimizer: whose rate is set.
        config: which schedule.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimizerConfig) -> None:
        self.optimizer, self.config = optimizer, config
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=config.decay_factor,
            patience=config.decay_patience,
            threshold=config.decay_threshold,
            min_lr=config.minimum_learning_rate,
        )

    @property
    def rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def finished(self) -> bool:
        """Whether progress has stopped at the lowest rate."""
        return self.config.schedule == "plateau" and self.rate <= self.config.minimum_learning_rate

    def before_step(self, step: int, fraction: float) -> None:
        """Cosine: rate of step number `step` (from 0), `fraction` (0 … 1) of the run being over."""
        if self.config.schedule == "cosine":
            for group in self.optimizer.param_groups:
                group["lr"] = cosine_rate(self.config, step, fraction)

    def after_epoch(self, loss: float) -> None:
        """Plateau: judge the epoch by its loss."""
        if self.config.schedule == "plateau":
            self._plateau.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return self._plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self._plateau.load_state_dict(state)


def cosine_rate(config: OptimizerConfig, step: int, fraction: float) -> float:
    """From the learning rate down to the minimum along half a cosine, after a linear rise over the first steps."""
    low, high = config.minimum_learning_rate, config.learning_rate
    rate = low + (high - low) * (0.5 + 0.5 * math.cos(math.pi * min(max(fraction, 0.0), 1.0)))
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))


def make_optimizer(parameters: list[torch.nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam, or AdamW whose weight decay leaves vectors (biases, norms) alone."""
    if config.kind == "adam":
        return torch.optim.Adam(parameters, lr=config.learning_rate)
    maps, vectors = ([p for p in parameters if (p.ndim > 1) == many] for many in (True, False))
    groups = [{"params": maps, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate)


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
