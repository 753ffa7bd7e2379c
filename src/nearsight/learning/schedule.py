"""The learning rate: lowered when progress stops, or along a cosine over the time of the run."""

from __future__ import annotations

import math
from typing import Any

import torch

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
            optimizer, factor=config.decay_factor, patience=config.decay_patience, threshold=config.decay_threshold,
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
