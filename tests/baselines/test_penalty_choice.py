"""Many structures choose weaker penalties where their data are free of noise, and stronger ones where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.baselines.penalty_choice import FACTORS, MANY, chosen_factor


def samples(rng: np.random.Generator, count: int, noise: float, m: int) -> list[tuple[np.ndarray, np.ndarray]]:
    weights = rng.standard_normal((20, 3))
    found = []
    for _ in range(count):
        x = rng.standard_normal((4, 20, m))
        found.append((x, weights.T @ x + noise * rng.standard_normal((4, 3, m))))
    return found


@pytest.mark.parametrize("degree", [0, 1])
def test_noise_decides(degree: int, rng: np.random.Generator) -> None:
    ridge = np.full(20, 30.0)
    assert chosen_factor(samples(rng, 30, 1e-8, 2 * degree + 1), degree, ridge) == FACTORS[-1]
    assert chosen_factor(samples(rng, 30, 20.0, 2 * degree + 1), degree, ridge) == 1.0


def test_few_structures_do_not_choose(rng: np.random.Generator) -> None:
    assert chosen_factor(samples(rng, MANY - 1, 0.0, 1), 0, np.full(20, 30.0)) == 1.0
    assert chosen_factor((), 0, np.full(20, 30.0)) == 1.0
