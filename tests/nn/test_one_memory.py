"""Parameters one after another in one memory: what is kept of them follows them when they move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nearsight.learning.weight_vector import WeightVector
from nearsight.nn.kernels.one_memory import FlatParameters


def layers() -> nn.Linear:
    """A module of two parameters, (2, 3) and (2,)."""
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def joined(own: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in own.parameters()]).numpy()


@pytest.mark.parametrize("one_memory", [False, True])
def test_numbers_and_gradients_of_parameters(one_memory: bool) -> None:
    own = layers()
    if one_memory:
        WeightVector.of(own)
    flat = FlatParameters.of(own, list(own.parameters()))
    np.testing.assert_array_equal(flat.weights, joined(own))
    flat.gradients += np.arange(8, dtype=np.float32)
    flat.write_back()
    assert own.weight.grad is not None
    assert own.bias.grad is not None
    assert own.weight.grad.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert own.bias.grad.tolist() == [6, 7]


def test_they_are_found_once_in_one_memory_and_anew_where_parameters_move() -> None:
    own = layers()
    parameters = list(own.parameters())
    assert FlatParameters.of(own, parameters) is not FlatParameters.of(own, parameters)  # copies would be out of date
    WeightVector.of(own)
    flat = FlatParameters.of(own, parameters)
    assert FlatParameters.of(own, parameters) is flat
    with torch.no_grad():
        own.bias += 1
    np.testing.assert_array_equal(flat.weights, joined(own))
    own.weight.data = own.weight.data + 1
    moved = FlatParameters.of(own, parameters)
    assert moved is not flat
    np.testing.assert_array_equal(moved.weights, joined(own))
    WeightVector.of(own)
    own.bias.grad = None
    again = FlatParameters.of(own, parameters)
    again.gradients += 1
    again.write_back()
    assert own.bias.grad is not None
    assert own.bias.grad.tolist() == [1, 1]
