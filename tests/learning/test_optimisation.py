"""Learning rates by hand, weight decay where it is asked for, and the average of the weights against plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from nearsight.learning.optimisation import (
    Schedule,
    averaged_weights,
    cosine_rate,
    make_optimizer,
    moving_average,
    set_step,
)
from nearsight.learning.weight_vector import WeightVector
from nearsight.nn.config import OptimizerSection

COSINE = OptimizerSection(schedule="cosine", learning_rate=4e-3, minimum_learning_rate=4e-6)


def parameters() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 3))]


@pytest.mark.parametrize(
    ("fraction", "rate"),
    [
        (0.0, 4e-3),
        (1 / 3, 4e-6 + 3.996e-3 * 0.75),
        (0.5, 2.002e-3),
        (2 / 3, 4e-6 + 3.996e-3 * 0.25),
        (1.0, 4e-6),
        (1.5, 4e-6),
        (-0.1, 4e-3),
    ],
)
def test_half_a_cosine_between_the_two_rates(fraction: float, rate: float) -> None:
    assert math.isclose(cosine_rate(COSINE, 10_000, fraction), rate, rel_tol=1e-12)


def test_the_rate_rises_linearly_over_the_first_steps() -> None:
    config = COSINE.model_copy(update={"warmup_steps": 4})
    rates = [cosine_rate(config, step, 0.0) / 4e-3 for step in range(7)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0], rel=1e-12)


def test_a_cosine_is_set_before_each_step_and_never_finishes() -> None:
    optimizer = make_optimizer(parameters(), COSINE)
    schedule = Schedule(optimizer, COSINE)
    for _ in range(1000):
        schedule.after_epoch(1.0)
    assert schedule.rate == 4e-3
    schedule.before_step(7, 1.0)
    assert {group["lr"] for group in optimizer.param_groups} == {4e-6}
    assert not schedule.finished


def test_a_plateau_is_that_of_torch_and_finishes_at_the_minimum() -> None:
    config = OptimizerSection(learning_rate=1e-2, minimum_learning_rate=2e-3, decay_factor=0.5, decay_patience=1)
    schedule = Schedule(make_optimizer(parameters(), config), config)
    rates = []
    for epoch in range(7):
        schedule.before_step(epoch, 0.9)
        schedule.after_epoch(1.0)
        rates.append(schedule.rate)
        assert schedule.finished == (epoch >= 6)
    assert rates == [1e-2, 1e-2, 5e-3, 5e-3, 2.5e-3, 2.5e-3, 2e-3]


def test_a_plateau_goes_on_counting_from_its_stored_state() -> None:
    config = OptimizerSection(learning_rate=1e-2, minimum_learning_rate=1e-3, decay_factor=0.5, decay_patience=2)
    first, second = (Schedule(make_optimizer(parameters(), config), config) for _ in range(2))
    for _ in range(3):
        first.after_epoch(1.0)
    second.load_state_dict(first.state_dict())
    second.after_epoch(1.0)
    assert second.rate == 5e-3


def test_adam_is_torch_s_and_adamw_spares_vectors() -> None:
    adam = make_optimizer(parameters(), OptimizerSection(learning_rate=0.1))
    assert type(adam) is torch.optim.Adam
    assert adam.param_groups[0]["weight_decay"] == 0
    vector, matrix = parameters()
    config = OptimizerSection(kind="adamw", weight_decay=0.5, learning_rate=0.1)
    adamw = make_optimizer([vector, matrix], config)
    for p in (vector, matrix):
        p.grad = torch.zeros_like(p)
    adamw.step()
    assert torch.equal(vector.detach(), torch.ones(3))
    assert torch.allclose(matrix.detach(), torch.full((2, 3), 0.95), rtol=1e-7, atol=0)


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


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_of_a_vector_is_torch_s(kind: str) -> None:
    """Step after step, with a parameter that rests at times, and from a state of torch's."""
    config = OptimizerSection(kind=kind, weight_decay=0.5 if kind == "adamw" else 0, learning_rate=0.1)
    ours, theirs = network(), network()
    vector = WeightVector.of(ours)
    assert vector is not None
    optimizers = [
        make_optimizer(list(ours.parameters()), config, vector),
        make_optimizer(list(theirs.parameters()), config),
    ]
    generator = torch.Generator().manual_seed(3)
    for step in range(12):
        vector.clear()
        for a, b in zip(ours.parameters(), theirs.parameters()):
            rests = a.ndim == 1 and step % 3 == 1
            b.grad = None if rests else torch.randn(b.shape, generator=generator, dtype=b.dtype)
            assert a.grad is not None
            a.grad.copy_(torch.zeros_like(b) if b.grad is None else b.grad)
        for own in optimizers:
            own.step()
        for a, b in zip(ours.parameters(), theirs.parameters()):
            assert torch.allclose(a, b, rtol=0, atol=1e-13)
        if step == 5:
            optimizers[0].load_state_dict(optimizers[1].state_dict())
    states = [own.state_dict()["state"] for own in optimizers]
    for key, b in states[1].items():
        assert states[0][key].keys() == b.keys()
        assert all(torch.allclose(states[0][key][name], b[name], rtol=1e-12, atol=0) for name in b)


def test_gradients_of_a_vector_are_clipped_as_torch_does() -> None:
    ours, theirs = network(), network()
    vector = WeightVector.of(ours)
    assert vector is not None
    for own in (ours, theirs):
        own(torch.ones(2, dtype=torch.float64)).square().sum().backward()
    for norm in (1e3, 0.7):
        vector.clip(norm)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), norm)
        for a, b in zip(ours.parameters(), theirs.parameters()):
            assert a.grad is not None
            assert b.grad is not None
            assert torch.allclose(a.grad, b.grad, rtol=1e-13, atol=0)


@pytest.mark.exact
def test_an_average_of_a_vector_is_that_of_its_parameters() -> None:
    ours, theirs = network(), network()
    WeightVector.of(ours)
    averages = [moving_average(own, 0.9) for own in (ours, theirs)]
    for own, average in zip((ours, theirs), averages):
        steps(own, average, 1, 7)
    assert numbers(averages[0]) == numbers(averages[1])
    assert int(averages[0].n_averaged) == int(averages[1].n_averaged)
