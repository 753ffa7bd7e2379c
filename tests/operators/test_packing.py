"""Packed chunks: any HDF5 library reads them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from nearsight.operators.packing import PackedSink, PlainSink


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("steps", [(1000,), (1, 99, 0, 300, 600), (64, 64, 872)])
def test_numbers_come_back(tmp_path, rng, dtype, packed, steps):
    numbers = np.where(rng.random(1000) < 0.5, rng.normal(size=1000), 0.0).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        filters = {"compression": "gzip", "shuffle": True} if packed else {}
        dataset = file.create_dataset("values", (1000,), dtype, chunks=(64,), **filters)
        sink = PackedSink(dataset) if packed else PlainSink(dataset)
        for part in np.split(numbers, np.cumsum(steps)[:-1]):
            sink.append(part)
        sink.finish()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["values"][()], numbers)
        if packed:
            assert file["values"].id.get_storage_size() < 0.8 * numbers.nbytes
