"""What holds for every junction: conservation, reciprocity, unitarity, sum rules, and the dense formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from scipy import sparse

from nearsight.quantum_transport.block_tridiagonal import block_tridiagonal
from nearsight.quantum_transport.eigenchannels import eigenchannels
from nearsight.quantum_transport.layering import cut_layers
from nearsight.quantum_transport.lead_modes import self_energy_from_modes
from nearsight.quantum_transport.observables import layer_currents, local_density
from nearsight.quantum_transport.scattering import scatter
from nearsight.quantum_transport.self_energy import decimated_self_energy, self_energy
from tests.quantum_transport.tight_binding import random_lead

ETA = 1e-8


class RandomJunction:
    """Two different random leads and a disordered device with S ≠ 1, of blocks of 6."""

    def __init__(self, seed: int, blocks: int = 7, complex_: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.left, self.right, m = random_lead(6, seed), random_lead(6, seed + 100), 6
        n = blocks * m

        def noise(*shape: int) -> np.ndarray:
            real = rng.normal(size=shape)
            return real + 1j * rng.normal(size=shape) if complex_ else real

        h, s = np.zeros((n, n), dtype=complex if complex_ else float), np.zeros((n, n))
        for b in range(blocks):
            here = slice(b * m, b * m + m)
            h[here, here] = noise(m, m)
            if b + 1 < blocks:
                there = slice(b * m + m, b * m + 2 * m)
                h[here, there] = noise(m, m)
                s[here, there] = 0.05 * rng.normal(size=(m, m)) / m
        h, s = h + h.conj().T, s + s.T + np.eye(n)
        h[:m, :m], h[-m:, -m:] = self.left.h0, self.right.h0
        self.h, self.s = sparse.csr_matrix(h), sparse.csr_matrix(s)
        self.units = np.arange(n + 1)
        self.starts = cut_layers(abs(self.h), self.units, m, m)
        self.device = block_tridiagonal(self.h, self.s, self.starts)

    def scatter(self, energy: float):
        return scatter(self.device, self.left, self.right, energy, eta=ETA, states=True)

    def dense(self, energy: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        a = energy * self.s.toarray() - self.h.toarray() + 0j
        sigma = [np.zeros_like(a), np.zeros_like(a)]
        sigma[0][:6, :6] = self_energy(self.left, "left", energy, ETA).sigma
        sigma[1][-6:, -6:] = self_energy(self.right, "right", energy, ETA).sigma
        g = np.linalg.inv(a - sigma[0] - sigma[1])
        return g, *(1j * (x - x.conj().T) for x in sigma)


CASES = [(seed, energy) for seed in (1, 2, 3) for energy in (-0.8, 0.1, 1.3)]


@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize(("seed", "energy"), CASES)
def test_scattering_is_the_dense_trace_formula(seed: int, energy: float, complex_: bool) -> None:
    junction = RandomJunction(seed, complex_=complex_)
    found = junction.scatter(energy)
    g, left, right = junction.dense(energy)
    trace = float(np.real(np.trace(left @ g @ right @ g.conj().T)))
    assert found.transmission == pytest.approx(trace, abs=2e-7)
    # Nothing is lost, and it is the same both ways.
    assert found.transmission + found.reflection == pytest.approx(found.n_left, abs=1e-8)
    assert found.from_right is not None
    backwards = self_energy(junction.left, "left", energy, ETA).channels.conj().T @ found.from_right[:6]
    assert np.sum(np.abs(backwards) ** 2) == pytest.approx(found.transmission, abs=1e-8)
    assert found.eigenchannels.sum() == pytest.approx(found.transmission, abs=1e-12)
    assert found.eigenchannels.max(initial=0) <= 1 + 1e-8


@pytest.mark.parametrize(("seed", "energy"), CASES)
def test_current_is_the_same_through_every_layer(seed: int, energy: float) -> None:
    junction = RandomJunction(seed)
    found = junction.scatter(energy)
    currents = layer_currents(found, junction.h, junction.s, junction.starts)
    assert len(currents) == 6
    np.testing.assert_allclose(currents, found.transmission, atol=1e-8)


@pytest.mark.parametrize(("seed", "energy"), CASES)
def test_local_densities_of_both_leads_are_the_density_of_states(seed: int, energy: float) -> None:
    junction = RandomJunction(seed)
    found = junction.scatter(energy)
    g, *_ = junction.dense(energy)
    assert found.from_left is not None
    assert found.from_right is not None
    both = sum(local_density(x, junction.s, junction.units) for x in (found.from_left, found.from_right))
    exact = -np.imag(np.diag(g @ junction.s.toarray())) / np.pi
    exact = (exact - np.imag(np.diag(junction.s.toarray() @ g)) / np.pi) / 2
    if not found.n_left and not found.n_right:
        assert np.all(both == 0)
    np.testing.assert_allclose(both, exact, atol=1e-6)


@pytest.mark.parametrize(("seed", "energy"), CASES)
def test_each_eigenchannel_carries_its_own_transmission_through_every_layer(seed: int, energy: float) -> None:
    junction = RandomJunction(seed)
    found = junction.scatter(energy)
    channels = eigenchannels(found, junction.s, junction.units)
    assert channels.count == found.n_left
    assert channels.states.shape == (junction.h.shape[0], found.n_left)
    np.testing.assert_allclose(channels.transmissions[: len(found.eigenchannels)], found.eigenchannels, atol=1e-12)
    assert found.from_left is not None
    whole = local_density(found.from_left, junction.s, junction.units)
    np.testing.assert_allclose(channels.densities.sum(axis=1), whole, atol=1e-9 * max(1, abs(whole).max()))
    for n, expected in enumerate(channels.transmissions):
        one = replace(found, from_left=channels.states[:, [n]])
        currents = layer_currents(one, junction.h, junction.s, junction.starts)
        np.testing.assert_allclose(currents, expected, atol=1e-8)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("n", [1, 4, 12])
def test_decimation_and_bloch_states_give_the_same_self_energy(n: int, side: str) -> None:
    lead = random_lead(n, n)
    for energy in (-1.0, 0.3, 2.0):
        decimated = decimated_self_energy(lead, side, energy, ETA)  # type: ignore[arg-type]
        assert decimated is not None
        modes = self_energy_from_modes(lead, side, energy, ETA)  # type: ignore[arg-type]
        np.testing.assert_allclose(decimated, modes, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_self_energy_reproduces_itself_one_layer_on(side: str) -> None:
    lead = random_lead(5, 7)
    z = 0.2 + 1j * ETA
    sigma = decimated_self_energy(lead, side, 0.2, ETA)  # type: ignore[arg-type]
    assert sigma is not None
    tau, back = z * lead.s1 - lead.h1, z * lead.s1.T - lead.h1.T
    if side == "right":
        tau, back = back, tau
    again = back @ np.linalg.solve(z * lead.s0 - lead.h0 - sigma, tau)
    np.testing.assert_allclose(again, sigma, atol=1e-9)


def test_open_channels_are_the_bands_that_cross_the_energy() -> None:
    lead = random_lead(6, 11)
    phases = np.linspace(0, 1, 2001)[:-1]
    bands = np.array([scipy.linalg.eigh(*lead.bloch(p), eigvals_only=True) for p in phases])
    for energy in (-2.0, -0.5, 0.4, 1.7):
        crossings = int(np.sum((bands < energy) != (np.roll(bands, -1, axis=0) < energy)))
        for side in ("left", "right"):
            assert self_energy(lead, side, energy, ETA).n_channels == crossings // 2  # type: ignore[arg-type]


def test_layers_are_as_thin_as_couplings_allow() -> None:
    n = 40
    band = sparse.diags([np.ones(n - abs(k)) for k in range(-3, 4)], range(-3, 4), format="csr")
    starts = cut_layers(band, np.arange(n + 1), 4, 4)
    assert starts[0] == 0
    assert starts[-1] == n
    assert np.diff(starts).max() <= 4
    block_tridiagonal(band, sparse.identity(n, format="csr"), starts)
