"""The optimiser, its learning rate, and the exponential moving average (EMA) of the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nearsight.errors import InputError
from nearsight.learning.weight_vector import AdamOfVector, WeightVector
from nearsight.nn.config import OptimizerSection
from nearsight.nn.kernels.one_memory import FlatParameters, in_one_memory

FUSED = ("cpu", "cuda")
"""Devices for which torch has Adam as one loop."""


class Schedule:
    """The schedule of an optimiser's learning rate: lowered on a plateau of the loss, or along a cosine over the run.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        The optimiser whose rate is set.
    config : OptimizerSection
        Kind and settings of the schedule.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: OptimizerSection) -> None:
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
        """Learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def finished(self) -> bool:
        """Whether progress has stopped at the lowest rate."""
        return self.config.schedule == "plateau" and self.rate <= self.config.minimum_learning_rate

    def before_step(self, step: int, fraction: float) -> None:
        """Set the rate of a step of a cosine schedule; a plateau schedule is left alone.

        Parameters
        ----------
        step : int
            Number of the step in the run, from 0.
        fraction : float
            Part of the run that is over, 0 … 1.
        """
        if self.config.schedule == "cosine":
            for group in self.optimizer.param_groups:
                group["lr"] = cosine_rate(self.config, step, fraction)

    def after_epoch(self, loss: float) -> None:
        """Show the loss of an epoch to the plateau schedule; a cosine schedule is left alone."""
        if self.config.schedule == "plateau":
            self._plateau.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedule, as JSON can hold it."""
        return self._plateau.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` said of the losses so far; the rest is that of the configuration.

        Raises
        ------
        InputError
            Where it is no such state.
        """
        counts = {key: state[key] for key in ("cooldown_counter", "num_bad_epochs", "last_epoch")}
        if not all(type(n) is int and n >= 0 for n in counts.values()):
            raise InputError(f"expected numbers of epochs in the schedule, got {counts}")
        best, rates = state["best"], state["_last_lr"]
        if type(best) not in (int, float) or math.isnan(best):
            raise InputError(f"expected a loss as the best one of the schedule, got {best!r:.80}")
        if len(rates) != len(self.optimizer.param_groups) or not all(type(r) in (int, float) and r >= 0 for r in rates):
            raise InputError(f"expected a learning rate for each group of the schedule, got {rates!r:.80}")
        self._plateau.load_state_dict({**counts, "best": best, "_last_lr": list(rates)})


def cosine_rate(config: OptimizerSection, step: int, fraction: float) -> float:
    """Return the learning rate on half a cosine down to the minimum, after a linear rise over the first steps.

    Parameters
    ----------
    config : OptimizerSection
        Highest and lowest rate, and the number of steps of the rise (`warmup_steps`).
    step : int
        Number of the step in the run, from 0.
    fraction : float
        Part of the run that is over; it is clipped to 0 … 1.

    Returns
    -------
    float
        The rate.
    """
    low, high = config.minimum_learning_rate, config.learning_rate
    rate = low + (high - low) * (0.5 + 0.5 * math.cos(math.pi * min(max(fraction, 0.0), 1.0)))
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))


def make_optimizer(
    parameters: list[nn.Parameter], config: OptimizerSection, vector: WeightVector | None = None
) -> torch.optim.Optimizer:
    """Return Adam, or AdamW whose weight decay leaves vectors (biases, norms) alone.

    Parameters
    ----------
    parameters : list of torch.nn.Parameter
        Parameters of the network.
    config : OptimizerSection
        Kind, first rate and weight decay.
    vector : WeightVector, optional
        All of these parameters as one vector, which is then updated in one loop.

    Returns
    -------
    torch.optim.Optimizer
        The optimiser.
    """
    # One loop over all parameters, where the device has one: a step of many small ones is mostly overhead.
    fused = all(p.device.type in FUSED and p.dtype in (torch.float32, torch.float64) for p in parameters)
    if config.kind == "adam":
        if vector is not None:
            return AdamOfVector(vector, [{"params": parameters, "weight_decay": 0.0}], config.learning_rate)
        return torch.optim.Adam(parameters, lr=config.learning_rate, fused=fused)
    maps, vectors = ([p for p in parameters if (p.ndim > 1) == many] for many in (True, False))
    groups = [{"params": maps, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if vector is not None:
        return AdamOfVector(vector, groups, config.learning_rate)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=fused)


class MovingAverage(AveragedModel):
    """An average of a network's weights, updated as one vector where both lie in one memory."""

    _known: tuple[nn.Module, list[nn.Parameter], list[nn.Parameter]] | None = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Count the weights of a step in."""
        if self._known is None or self._known[0] is not model:
            self._known = model, list(self.module.parameters()), list(model.parameters())
        if any(p.device.type != "cpu" for own in self._known[1:] for p in own):
            super().update_parameters(model)
            return
        ours, theirs = (FlatParameters.of(own, of) for own, of in zip((self.module, model), self._known[1:]))
        if not (ours.shared and theirs.shared):
            super().update_parameters(model)
            return
        assert self.multi_avg_fn is not None
        self.multi_avg_fn([torch.from_numpy(ours.weights)], [torch.from_numpy(theirs.weights)], self.n_averaged)
        for mine, other in zip(self.module.buffers(), model.buffers()):
            mine.copy_(other)
        self.n_averaged += 1


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return the EMA of a network's weights, which begins with their present values.

    After step k the average is d·average + (1 − d)·weights with d = min(decay, (1 + k)/(10 + k)): short at first, so
    that the random start is soon forgotten.

    Parameters
    ----------
    network : torch.nn.Module
        The network under training.
    decay : float
        Largest d, below 1.

    Returns
    -------
    AveragedModel
        The average; `update_parameters` counts a step into it.
    """

    @torch.no_grad()
    def update(averages: Any, weights: Any, step: Any) -> None:
        keep = min(decay, (1 + int(step)) / (10 + int(step)))
        torch._foreach_mul_(averages, keep)
        torch._foreach_add_(averages, weights, alpha=1 - keep)

    average = MovingAverage(network, multi_avg_fn=update)
    if in_one_memory(list(network.parameters())) is not None:
        WeightVector.of(average.module)
    set_step(average, 0)
    return average


def set_step(average: AveragedModel, step: int) -> None:
    """Set the number of steps that an average has seen.

    Parameters
    ----------
    average : AveragedModel
        An average that `moving_average` made.
    step : int
        Number of steps.
    """
    # AveragedModel copies the weights at its update number 0; ours has begun with them.
    average.n_averaged.fill_(step + 1)


def averaged_weights(average: AveragedModel) -> dict[str, Tensor]:
    """Return the averages by the names of the parameters."""
    return {name: p.detach() for name, p in average.module.named_parameters()}
