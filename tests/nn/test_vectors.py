"""Vectors in compiled loops equal NumPy's operations, also where rows fill none; linear layers equal torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.linear_layer import linear, linear_back
from nearsight.nn.kernels.vectors import LANES, lanes_of, load, spread, square_root, store, total

ONE = 1


@compiled
def combined(x, y, z):
    sums = x.dtype.type(0)
    for c in range(0, len(x), LANES):
        value = load(x, c, LANES)
        store(z, c, value * load(y, c, LANES) - spread(x[0], LANES) + value / square_root(value * value))
        sums += total(value)
    return sums


@compiled
def combined_one_by_one(x, y, z):
    sums = x.dtype.type(0)
    for c in range(0, len(x), ONE):
        value = load(x, c, ONE)
        store(z, c, value * load(y, c, ONE) - spread(x[0], ONE) + value / square_root(value * value))
        sums += total(value)
    return sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("function", "size"), [(combined, 24), (combined_one_by_one, 5)])
def test_operations(function, size, dtype):
    assert lanes_of(size) == (LANES if function is combined else ONE)
    x, y = np.random.default_rng(0).standard_normal((2, size)).astype(dtype)
    z = np.empty(size, dtype)
    sums = function(x, y, z)
    rounding = 32 * float(np.finfo(dtype).eps)
    assert np.allclose(z, x * y - x[0] + np.sign(x), rtol=0, atol=rounding)
    assert sums == pytest.approx(float(x.sum()), abs=rounding)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(300, 16, 24), (5, 7, 3), (1, 8, 8)])
def test_linear_layer(rows, inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, above = (
        torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True)
        for size in ((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    )
    expected = torch.nn.functional.linear(x, weight, bias)
    gradients = torch.autograd.grad(expected, (x, weight, bias), above)
    arrays = [t.detach().numpy() for t in (x, weight, bias, above)]
    y, dx = np.empty((rows, outputs)), np.empty((rows, inputs))
    dweight, dbias = np.ones((outputs, inputs)), np.ones(outputs)
    linear(arrays[0], np.ascontiguousarray(arrays[1].T), arrays[2], y)
    linear_back(arrays[0], arrays[1], arrays[3], dx, dweight, dbias)
    for found, wanted in zip((y, dx, dweight - 1, dbias - 1), (expected, *gradients)):
        assert np.abs(found - wanted.detach().numpy()).max() < 1e-12
