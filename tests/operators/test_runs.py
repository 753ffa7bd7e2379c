"""Runs of numbers: the same as one after another."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.operators import runs


@pytest.mark.parametrize("length", [1, 3, 7])
def test_gather_and_scatter(rng, length):
    values = rng.normal(size=70)
    starts = rng.permutation(70 // length)[:6] * length
    taken = runs.gather(values, starts, length)
    np.testing.assert_array_equal(taken, [values[s : s + length] for s in starts])
    taken[:] = 0
    assert values.all(), "a copy"
    expected = values.copy()
    for k, s in enumerate(starts):
        expected[s : s + length] = k
    runs.scatter(values, starts, np.repeat(np.arange(6.0)[:, None], length, axis=1))
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("add", [False, True])
def test_copy_of_runs_of_several_lengths(rng, monkeypatch, add):
    monkeypatch.setattr(runs, "AT_ONCE", 8)
    lengths = rng.integers(0, 5, 40)
    places = np.cumsum(lengths) - lengths
    order = rng.permutation(40)
    starts = np.empty(40, dtype=int)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    values, into = rng.normal(size=lengths.sum()), rng.normal(size=lengths.sum())
    expected = into.copy()
    for s, p, n in zip(starts, places, lengths):
        expected[p : p + n] = values[s : s + n] + (expected[p : p + n] if add else 0)
    runs.copy(values, starts, into, places, lengths, add=add)
    np.testing.assert_array_equal(into, expected)


def test_nothing_and_beyond_the_end():
    assert runs.gather(np.zeros(3), np.zeros(0, dtype=int), 4).shape == (0, 4)
    for start in (-1, 2):
        with pytest.raises(IndexError, match="expected runs of 2 within 3 numbers"):
            runs.gather(np.zeros(3), np.array([start]), 2)
