"""Products by tiles, or by BLAS where sizes do not fit them, equal NumPy's; memory that is shared is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearsight.nn.kernels.blas import workspace
from nearsight.nn.kernels.compilation import compiled
from nearsight.nn.kernels.narrow_products import (
    add_filled_product_tn,
    add_multiply_tn,
    filled_product,
    multiply,
    multiply_nt,
)
from nearsight.nn.kernels.one_memory import in_one_memory


@compiled
def products(a, b, bt, at, plain, transposed, added):
    (rows, inner), columns, space = a.shape, b.shape[1], workspace(a)
    multiply(space, a.reshape(-1), b.reshape(-1), plain.reshape(-1), rows, columns, inner)
    multiply_nt(space, a.reshape(-1), bt.reshape(-1), transposed.reshape(-1), rows, columns, inner)
    add_multiply_tn(space, at.reshape(-1), b.reshape(-1), added.reshape(-1), rows, columns, inner)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(53, 48, 8), (53, 8, 48), (53, 16, 16), (24, 301, 24), (53, 96, 32), (7, 32, 96), (53, 40, 64), (13, 5, 6)],
)
def test_products(rows, inner, columns, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, inner)).astype(dtype), rng.standard_normal((inner, columns)).astype(dtype)
    found = [np.ones((rows, columns), dtype) for _ in range(3)]
    products(a, b, np.ascontiguousarray(b.T), np.ascontiguousarray(a.T), *found)
    tolerance = 50 * np.sqrt(inner) * np.finfo(dtype).eps
    for own, more in zip(found, (0, 0, 1)):
        np.testing.assert_allclose(own, a @ b + more, rtol=0, atol=tolerance)


@pytest.mark.parametrize("columns", [1, 8, 13])
def test_filled_products(columns):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((37, 24)), rng.standard_normal((24, columns))
    wide, plain, added = np.full(37 * 16, np.nan), np.full((37, columns), np.nan), np.ones((24, columns))
    filled_product(a.reshape(-1), b.reshape(-1), wide, plain.reshape(-1), 37, columns, 24)
    np.testing.assert_allclose(plain, a @ b, atol=1e-13)
    add_filled_product_tn(a.reshape(-1), plain.reshape(-1), wide, added.reshape(-1), 24, columns, 37)
    np.testing.assert_allclose(added, a.T @ plain + 1, atol=1e-12)


def test_tensors_in_one_memory():
    memory = torch.arange(12.0)
    first, empty, second = memory[2:8].view(2, 3), torch.empty(3, 0), memory[8:]
    found = in_one_memory([first, empty, second])
    assert found is not None
    assert found.tolist() == list(range(2, 12))
    found[0] = -1
    assert memory[2] == -1
    for others in ([second, first], [first.T, second], [first, torch.zeros(4)], [first.clone(), second], [empty]):
        assert in_one_memory(others) is None
