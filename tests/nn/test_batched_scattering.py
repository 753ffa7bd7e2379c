"""Scattering in batches is scattering at one energy after the other."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

import nearsight as ns
from nearsight.errors import ConfigError, InputError
from nearsight.nn.batched_scattering import BatchedSolver
from nearsight.quantum_transport.energy_point import EnergyPoint
from nearsight.quantum_transport.junction import Junction
from nearsight.quantum_transport.sweep import Sweep, SweepSettings
from tests.quantum_transport.tight_binding import chain, strip, tight_binding


def disordered_strip() -> Junction:
    rng = np.random.default_rng(7)
    on_site = np.concatenate([np.zeros(6), rng.normal(size=15), np.zeros(6)])
    return ns.junction(strip(3, 9, overlap=0.05, on_site=on_site), layer=1.0)


def plane(length: int) -> ns.Calculation:
    """A period of the square lattice across, two atoms wide, with an impurity."""
    positions = np.array([[x, 0, z] for z in range(length) for x in range(2)], dtype=float)
    on_site = np.zeros(len(positions))
    on_site[len(positions) // 2] = 0.7
    return tight_binding(positions, np.diag([2.0, 20.0, length]), -1.0, on_site=on_site)


def assert_same(junction: Junction, local: bool, device: torch.device, energies: np.ndarray, k: float = 0.0) -> None:
    k_points = np.array([[0.0, 0.0, 0.0], [k, 0.0, 0.0]])
    settings = SweepSettings(energies, 0.1, k_points, np.array([0.5, 0.5]), local=local)
    _, expected = Sweep(junction, settings).run()
    for batch in (1, 4, None):
        _, found = Sweep(junction, settings, solver=BatchedSolver(junction, settings, device, batch)).run()
        for one, other in zip((p for row in found for p in row), (p for row in expected for p in row)):
            for name in (f.name for f in fields(EnergyPoint)):
                a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
                assert a.shape == b.shape
                np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, err_msg=f"{name} at {one.energy}")


CASES = {
    "disordered": (disordered_strip, 0.0),
    "k": (lambda: ns.junction(plane(7), layer=1.0), 0.21),
    "featureless leads": (lambda: ns.junction(chain(6), wide_band=(0.5, 0.8)), 0.0),
}


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_batches_are_the_same_as_single_energies(case: str, local: bool) -> None:
    make, k = CASES[case]
    # Outside the band, within it, and at 0, a level of a layer alone, where decimation loses its digits.
    energies = np.array([-6.0, -1.31, -0.62, -0.1, 0.33, 0.9, 1.7, 6.0])
    assert_same(make(), local, torch.device("cpu"), energies, k)


@pytest.mark.gpu
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_batches_on_a_gpu(case: str, local: bool, gpu: torch.device) -> None:
    make, k = CASES[case]
    assert_same(make(), local, gpu, np.array([-6.0, -1.31, -0.62, -0.1, 0.33, 0.9, 1.7, 6.0]), k)


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="expected a"):
        ns.transport(chain(6), [0.1], layer=1.0, compute_on="cuda:99")
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda"):
        ns.transport(chain(6), [0.1], layer=1.0, compute_on="gpu")
    with pytest.raises(InputError, match="one process"):
        ns.transport(chain(6), [0.1], layer=1.0, compute_on="cuda", processes=2)
