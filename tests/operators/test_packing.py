"""Packed chunks: any HDF5 library reads them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from nearsight.operators.packing import PackedSink, PlainSink, fletcher32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("steps", [(1000,), (1, 99, 0, 300, 600), (64, 64, 872)])
def test_numbers_come_back(tmp_path, rng, dtype, packed, checked, steps):
    numbers = np.where(rng.random(1000) < 0.5, rng.normal(size=1000), 0.0).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        filters = {"compression": "gzip", "shuffle": True} if packed else {}
        dataset = file.create_dataset("values", (1000,), dtype, chunks=(64,), fletcher32=checked, **filters)
        sink = PackedSink(dataset) if packed else PlainSink(dataset)
        for part in np.split(numbers, np.cumsum(steps)[:-1]):
            sink.append(part)
        sink.finish()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["values"][()], numbers)
        if packed:
            assert file["values"].id.get_storage_size() < 0.8 * numbers.nbytes


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 511, 512, 513, 719, 720, 721, 100_001])
def test_the_checksum_is_hdf5_s_own(tmp_path, rng, size):
    """Of even and odd lengths, of zeros and of what adds up to a multiple of 65535."""
    for data in (rng.bytes(size), bytes(size), b"\xff" * size):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            dataset = file.create_dataset("x", (max(size, 1),), np.uint8, chunks=(max(size, 1),), fletcher32=True)
            dataset[:] = np.frombuffer(data or b"\0", np.uint8)
            file.flush()
            _, stored = dataset.id.read_direct_chunk((0,))
        if size:
            assert int.from_bytes(stored[-4:], "little") == fletcher32(data)
