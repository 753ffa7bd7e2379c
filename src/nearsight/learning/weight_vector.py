"""WeightVector: the parameters of a network on a CPU as one vector, and Adam on it as one loop.

A network has hundreds of small parameters: to clear, sum, clip and apply their gradients one by one takes longer than
the arithmetic. Each parameter and its gradient stay what they are, as views of two vectors. A parameter whose gradient
is zero throughout rests, as one without gradient does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.processes import Processes


class WeightVector:
    """All parameters of a network in one memory, and their gradients in another.

    Attributes
    ----------
    parameters : list of Parameter
        The parameters, in the order of the network.
    values, gradients : Tensor
        (n,) their numbers and gradients, of which theirs are views.
    starts : ndarray
        (parameters + 1,) where each begins.

    Parameters
    ----------
    parameters : list of Parameter
        All of one type, on the CPU; their memory is replaced.
    """

    SAID = 4
    """Numbers that go with the gradients in one message."""

    @torch.no_grad()
    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        counts = [p.numel() for p in parameters]
        self.starts = np.cumsum([0, *counts])
        self.values = torch.cat([p.detach().reshape(-1) for p in parameters])
        self._message = self.values.new_zeros(len(self.values) + self.SAID)
        self.gradients = self._message[: len(self.values)]
        for p, value, gradient in zip(parameters, self.values.split(counts), self.gradients.split(counts)):
            p.data, p.grad = value.view(p.shape), gradient.view(p.shape)

    @classmethod
    def of(cls, network: nn.Module) -> WeightVector | None:
        """Return the vector of a network's parameters; None where they are not of one real type on a CPU."""
        own = list(network.parameters())
        kinds = {(p.device.type, p.dtype) for p in own}
        return cls(own) if kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)}) else None

    def clear(self) -> None:
        """Set all gradients to zero."""
        self.gradients.zero_()

    def sum_gradients(self, processes: Processes, numbers: Tensor) -> Tensor:
        """Replace the gradients by their sums over all processes, and sum some numbers in the same message.

        Parameters
        ----------
        processes : Processes
            Those that train together.
        numbers : Tensor
            (SAID,) of the type of the parameters.

        Returns
        -------
        Tensor
            (SAID,) their sums, the same bits in each process.

        Raises
        ------
        LostProcessError
            Another process has ended.
        """
        self._message[-self.SAID :] = numbers
        return processes.sum(self._message)[-self.SAID :].clone()

    def clip(self, norm: float) -> None:
        """Scale the gradients so that their norm is at most so large."""
        found = float(torch.linalg.vector_norm(self.gradients))
        if found + 1e-6 > norm:
            self.gradients.mul_(norm / (found + 1e-6))


class AdamOfVector(torch.optim.AdamW):
    """AdamW of `WeightVector`, with the state of torch's.

    Parameters
    ----------
    weights : WeightVector
        The parameters.
    groups : list of dict
        Groups of them, as torch's optimisers take them, with their weight decay.
    learning_rate : float
        The first rate.
    """

    def __init__(self, weights: WeightVector, groups: list[dict[str, Any]], learning_rate: float) -> None:
        super().__init__(groups, lr=learning_rate)
        self.weights = weights
        self._moments, self._squares = torch.zeros_like(weights.values), torch.zeros_like(weights.values)
        self._steps = torch.zeros(len(weights.parameters))
        self._decays_of: tuple[tuple[float, ...], np.ndarray] = ((), np.zeros(0))
        self._arrays = [
            t.numpy() for t in (weights.values, weights.gradients, self._moments, self._squares, self._steps)
        ]
        self._show()

    def _show(self) -> None:
        """Let the state of each parameter be a view."""
        w = self.weights
        for k, p in enumerate(w.parameters):
            own = slice(w.starts[k], w.starts[k + 1])
            moments, squares = (t[own].view(p.shape) for t in (self._moments, self._squares))
            self.state[p] = {"step": self._steps[k], "exp_avg": moments, "exp_avg_sq": squares}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state that `state_dict` returned, of this optimiser or of torch's."""
        super().load_state_dict(state_dict)
        given = [self.state.get(p, {}) for p in self.weights.parameters]
        for t in (self._moments, self._squares, self._steps):
            t.zero_()
        self._show()
        for p, found in zip(self.weights.parameters, given):
            for key, value in found.items():
                self.state[p][key].copy_(value)

    def _decays(self, of_groups: tuple[float, ...]) -> np.ndarray:
        """Return the weight decay of each parameter, computed where that of a group has changed."""
        if of_groups != self._decays_of[0]:
            decay = {id(p): own["weight_decay"] for own in self.param_groups for p in own["params"]}
            own = np.array([decay[id(p)] for p in self.weights.parameters], dtype=np.float64)
            self._decays_of = of_groups, own
        return self._decays_of[1]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply the gradients."""
        loss = None if closure is None else closure()
        group, decays = self.param_groups[0], self._decays(tuple(own["weight_decay"] for own in self.param_groups))
        first, second = cast(tuple[float, float], group["betas"])
        rates = float(group["lr"]), float(first), float(second), float(group["eps"])
        _step(*self._arrays, self.weights.starts, decays, *rates)
        return loss


@compiled
def _step(values, gradients, moments, squares, steps, starts, decays, rate, first, second, epsilon):  # type: ignore[no-untyped-def]
    """Take a step of AdamW for each parameter whose gradient is not zero.

    Parameters
    ----------
    values, gradients, moments, squares : array
        (n,) weights, their gradients, and the means of these and of their squares.
    steps : array
        (parameters,) numbers of the steps so far.
    starts : array
        (parameters + 1,) where each begins.
    decays : array
        (parameters,) weight decays.
    rate, first, second, epsilon : float
        Learning rate, decays of the means, and what is added to the root.
    """
    real = values.dtype.type
    for k in range(len(steps)):
        w, g = values[starts[k] : starts[k + 1]], gradients[starts[k] : starts[k + 1]]
        m, s = moments[starts[k] : starts[k + 1]], squares[starts[k] : starts[k + 1]]
        rests = True
        for q in range(len(g)):
            if g[q] != 0:
                rests = False
                break
        if rests:
            continue
        steps[k] += 1
        kept, size = real(1 - rate * decays[k]), real(rate / (1 - first ** steps[k]))
        root, small = real(1 / np.sqrt(1 - second ** steps[k])), real(epsilon)
        new, old, fresh = real(1 - first), real(second), real(1 - second)
        for q in range(len(w)):
            m[q] += (g[q] - m[q]) * new
            s[q] = old * s[q] + fresh * g[q] * g[q]
            w[q] = kept * w[q] - size * m[q] / (np.sqrt(s[q]) * root + small)
