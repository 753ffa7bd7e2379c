"""Levels that are followed: the space is that of eigenvectors, to the order of perturbation theory that was said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from nearsight.electronic.followed_levels import FollowedLevels, levels_below

N = 24


def problem(seed: int, full: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """H with a gap above its `full` lowest levels, S, and a change of H."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((N, N)) for _ in range(2))
    s = np.eye(N) + 0.1 * (a @ a.T) / N
    root = np.linalg.cholesky(s)
    levels = np.where(np.arange(N) < full, 0.0, 5.0) + np.sort(rng.uniform(0, 2, N))
    turn = np.linalg.qr(rng.standard_normal((N, N)))[0]
    return root @ (turn * levels) @ turn.T @ root.T, s, (b + b.T) / N**0.5


def projector(h: np.ndarray, s: np.ndarray, full: int, empty: bool) -> np.ndarray:
    vectors = linalg.eigh(h, s)[1]
    chosen = vectors[:, full:] if empty else vectors[:, :full]
    return np.asarray(chosen @ chosen.T)


@pytest.mark.parametrize(("full", "empty"), [(8, False), (17, True)])
def test_steps_with_one_hamiltonian_end_at_its_eigenvectors(full: int, empty: bool) -> None:
    h, s, change = problem(0, full)
    followed = FollowedLevels(*linalg.eigh(h, s), full)
    assert followed.empty == empty
    found = None
    for _ in range(60):
        found = followed.follow(h + change)
    assert found is not None
    space = followed.space
    np.testing.assert_allclose(space @ space.T, projector(h + change, s, full, empty), atol=1e-10)
    np.testing.assert_allclose(space.T @ s @ space, np.eye(len(space.T)), atol=1e-12)
    np.testing.assert_allclose(linalg.eigh(h, s)[1] @ found, space, atol=1e-12)
    assert np.abs(space @ space.T - projector(h, s, full, empty)).max() > 0.02


def test_one_step_is_first_order_perturbation_theory() -> None:
    """A change half as large leaves a quarter of the error."""
    h, s, change = problem(1, 17)
    errors = []
    for scale in (0.02, 0.01):
        followed = FollowedLevels(*linalg.eigh(h, s), 17)
        followed.follow(h + scale * change)
        space = followed.space
        errors.append(np.abs(space @ space.T - projector(h + scale * change, s, 17, True)).max())
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)


def test_levels_that_cross_are_not_followed() -> None:
    h, s, change = problem(2, 17)
    followed = FollowedLevels(*linalg.eigh(h, s), 17)
    assert followed.follow(h + 0.01 * change) is not None
    assert followed.follow(40 * change) is None


def test_levels_that_cross_without_mixing_are_counted() -> None:
    """A zero matrix element cannot tell: the space stays, and another level is in it."""
    followed = FollowedLevels(np.array([-1.0, 0.0, 1.0, 2.0]), np.eye(4), 2)
    changed = np.diag([-1.0, 3.0, 1.0, 2.0])
    assert followed.follow(changed) is not None
    assert followed.nearest == 3.0
    assert levels_below(changed, np.eye(4), 3.5) == 4


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_the_inertia_counts_levels(dtype: type) -> None:
    h, s, change = problem(3, 9)
    h = h.astype(dtype)
    if np.iscomplexobj(h):
        h = h + 1j * (np.triu(change, 1) - np.triu(change, 1).T).astype(dtype)
    levels = linalg.eigvalsh(h, s)
    counts = [levels_below(h, s, float(np.mean(levels[k : k + 2]))) for k in range(N - 1)]
    assert counts == list(range(1, N))
