"""The exponential moving average of the weights against plain Python, and from a stored state."""

from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from nearsight.learning.optimisation import averaged_weights, moving_average, set_step


def network() -> torch.nn.Linear:
    generator = torch.Generator().manual_seed(0)
    own = torch.nn.Linear(2, 3, dtype=torch.float64)
    with torch.no_grad():
        for p in own.parameters():
            p.copy_(torch.rand(p.shape, generator=generator, dtype=p.dtype))
    return own


def steps(own: torch.nn.Module, average: AveragedModel, first: int, count: int) -> list[list[float]]:
    """Numbers of the weights after each of some steps, counted into the average."""
    seen = []
    for step in range(first, first + count):
        with torch.no_grad():
            for k, p in enumerate(own.parameters()):
                p.mul_(1 - 0.1 / (k + 1)).add_(0.01 * step)
        average.update_parameters(own)
        seen.append([float(x) for p in own.parameters() for x in p.detach().flatten()])
    return seen


def numbers(average: AveragedModel) -> list[float]:
    return [float(x) for mean in averaged_weights(average).values() for x in mean.flatten()]


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_equals_plain_python(decay: float) -> None:
    own = network()
    mean = [float(x) for p in own.parameters() for x in p.detach().flatten()]
    average = moving_average(own, decay)
    for step, weights in enumerate(steps(own, average, 1, 30), start=1):
        keep = min(decay, (1 + step) / (10 + step))
        mean = [keep * m + (1 - keep) * w for m, w in zip(mean, weights)]
    assert numbers(average) == pytest.approx(mean, rel=1e-13)


@pytest.mark.exact
def test_a_stored_average_goes_on_to_the_last_bit() -> None:
    own = network()
    average = moving_average(own, 0.99)
    steps(own, average, 1, 5)
    other = moving_average(own, 0.99)
    other.module.load_state_dict(average.module.state_dict())
    set_step(other, 5)
    steps(own, average, 6, 1)
    other.update_parameters(own)
    assert numbers(other) == numbers(average)


def test_the_average_leaves_the_weights_alone() -> None:
    own = network()
    average = moving_average(own, 0.9)
    steps(own, average, 1, 3)
    assert not torch.equal(own.weight, average.module.weight)
    assert own.weight.data_ptr() != average.module.weight.data_ptr()
