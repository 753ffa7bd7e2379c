"""Rates by hand; the cosine does not stop a run; weight decay only where it is asked for."""

from __future__ import annotations

import math

import pytest
import torch

from nearsight.learning.optimisation import Schedule, cosine_rate, make_optimizer
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
