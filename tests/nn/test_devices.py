"""Devices by name; what happens when a GPU's memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearsight.errors import ConfigError, NearsightError
from nearsight.nn.architectures.nearsight.graph import Bonds
from nearsight.nn.devices import device_named
from nearsight.nn.kernels.device_frames import frame_rows, harmonics_of
from nearsight.nn.kernels.device_memory import rows_that_fit, with_smaller_chunks
from nearsight.nn.kernels.tall_products import ROWS, add_tall_product
from nearsight.orbitals.rotations import bond_frames, spherical_harmonics, wigner_d


def test_names_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_named("cpu") == torch.device("cpu")
    assert device_named("auto") == device_named("cuda") == torch.device("cuda", 0)
    assert device_named("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r"expected a GPU for the device cuda:2, got 2 GPUs"):
        device_named("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_named("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"got no GPU that torch can use; the device cpu"):
        device_named("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "mps", ""])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N for the device"):
        device_named(name)


def test_chunks_are_halved_when_memory_runs_out() -> None:
    tried: list[int] = []

    def compute(size: int) -> int:
        tried.append(size)
        if size > 20:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
        return size

    assert with_smaller_chunks(compute, 100, 3) == 12
    assert tried == [100, 50, 25, 12]
    with pytest.raises(
        NearsightError, match=r"memory on the GPU, got: CUDA out of memory. Tried to allocate 2.00 GiB;"
    ):
        with_smaller_chunks(compute, 100, 30)


def test_as_many_rows_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearsight.nn.kernels.device_memory.available_bytes", lambda device: 10**9)
    device = torch.device("cuda", 0)
    assert rows_that_fit(device, 1000, 100, 10) == 1000
    assert rows_that_fit(device, 10**6, 5000, 10) == 10**5
    assert rows_that_fit(device, 10**6, 10**9, 10) == 10


@pytest.mark.parametrize("rows", [5, 2 * ROWS, 2 * ROWS + 3, 3 * ROWS - 1])
def test_products_in_parts(rows: int) -> None:
    a, b = torch.randn(rows, 5, dtype=torch.float64), torch.randn(rows, 3, dtype=torch.float64)
    out = torch.ones(5, 3, dtype=torch.float64)
    add_tall_product(out, a, b)
    torch.testing.assert_close(out, 1 + a.T @ b)


def test_frames_of_a_device_are_those_of_the_cpu(rng: np.random.Generator) -> None:
    vectors = np.concatenate([rng.standard_normal((50, 3)), np.eye(3), -np.eye(3), [[1, 1, 0], [2, 2, 2]]])
    found = frame_rows(vectors, 4, torch.float64, torch.device("cpu"))
    expected = [d.reshape(len(vectors), -1) for d in wigner_d(bond_frames(vectors), 4)]
    np.testing.assert_allclose(found.numpy(), np.concatenate(expected, axis=1), atol=1e-13)
    harmonics = np.concatenate(spherical_harmonics(vectors, 4), axis=1)
    np.testing.assert_allclose(harmonics_of(found, 4).numpy(), harmonics, atol=1e-13)


@pytest.mark.parametrize("n_atoms", [4, 50])
def test_ends_of_bonds_at_atoms(n_atoms: int, rng: np.random.Generator) -> None:
    source, target = (torch.as_tensor(rng.integers(0, 4, 9)) for _ in range(2))
    bonds = Bonds(source, target, torch.ones(9), torch.ones(9, 1))
    found, node = bonds.ends(n_atoms), torch.cat([source, target])
    for atom in range(n_atoms):
        rows = found.order[found.start[atom] : found.start[atom + 1]]
        assert torch.equal(rows, torch.nonzero(node == atom)[:, 0])
    assert (bonds.ends(n_atoms) is found) == (n_atoms <= len(bonds))
    assert len(bonds.ends(7).start) == 8
