"""Products called from compiled code equal NumPy's, both precisions, also on slices of flat arrays."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from nearsight.nn.kernels.blas import product, product_nt, product_tn, workspace


@numba.njit
def three(a, b, bt, at, rows, columns, inner, add, out):
    space = workspace(a)
    size = rows * columns
    product(space, a, b, out[0:], rows, columns, inner, add)
    product_nt(space, a, bt, out[size:], rows, columns, inner, add)
    product_tn(space, at, b, out[2 * size :], rows, columns, inner, add)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("add", [0, 1])
@pytest.mark.parametrize(("rows", "columns", "inner"), [(1, 1, 1), (7, 5, 3), (40, 16, 64)])
def test_products(dtype, add, rows, columns, inner):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(rows, inner)).astype(dtype), rng.normal(size=(inner, columns)).astype(dtype)
    start = rng.normal(size=(3, rows, columns)).astype(dtype)
    out = start.reshape(-1).copy()
    three(a.reshape(-1), b.reshape(-1), b.T.reshape(-1).copy(), a.T.reshape(-1).copy(), rows, columns, inner, add, out)
    expected = a.astype(np.float64) @ b + add * start
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    assert np.abs(out.reshape(expected.shape) - expected).max() < tolerance
