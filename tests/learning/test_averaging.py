"""The moving average against plain Python; weights are put back whatever happens."""

from __future__ import annotations

import pytest
import torch

from nearsight.learning.optimisation import WeightAverage


def network() -> torch.nn.Linear:
    generator = torch.Generator().manual_seed(0)
    own = torch.nn.Linear(2, 3, dtype=torch.float64)
    with torch.no_grad():
        for p in own.parameters():
            p.copy_(torch.rand(p.shape, generator=generator, dtype=p.dtype))
    return own


def steps(own: torch.nn.Module, average: WeightAverage, first: int, count: int) -> list[list[float]]:
    """Numbers of the weights after each of some steps, counted into the average."""
    seen = []
    for step in range(first, first + count):
        with torch.no_grad():
            for k, p in enumerate(own.parameters()):
                p.mul_(1 - 0.1 / (k + 1)).add_(0.01 * step)
        average.update(step)
        seen.append([float(x) for p in own.parameters() for x in p.detach().flatten()])
    return seen


def numbers(average: WeightAverage) -> list[float]:
    return [float(x) for mean in average.named().values() for x in mean.flatten()]


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_equals_plain_python(decay: float) -> None:
    own = network()
    mean = [float(x) for p in own.parameters() for x in p.detach().flatten()]
    average = WeightAverage(own, decay)
    for step, weights in enumerate(steps(own, average, 1, 30), start=1):
        keep = min(decay, (1 + step) / (10 + step))
        mean = [keep * m + (1 - keep) * w for m, w in zip(mean, weights)]
    assert numbers(average) == pytest.approx(mean, rel=1e-13)


def test_a_stored_average_goes_on_to_the_last_bit() -> None:
    own = network()
    average = WeightAverage(own, 0.99)
    steps(own, average, 1, 5)
    other = WeightAverage(own, 0.99)
    other.load({k: v.clone() for k, v in average.named().items()} | {"a_buffer": torch.zeros(1)})
    steps(own, average, 6, 1)
    other.update(6)
    assert numbers(other) == numbers(average)


def test_applied_puts_the_weights_back_after_an_error() -> None:
    own = network()
    average = WeightAverage(own, 0.9)
    steps(own, average, 1, 3)
    before = {k: v.clone() for k, v in own.state_dict().items()}

    def fail_inside() -> None:
        with average.applied():
            assert all(torch.equal(p, average.named()[k]) for k, p in own.named_parameters())
            assert not torch.equal(own.weight, before["weight"])
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail_inside()
    assert all(torch.equal(before[k], v) for k, v in own.state_dict().items())
