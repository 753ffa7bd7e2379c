"""Transmission of systems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

import nearsight as ns
from nearsight.quantum_transport.self_energy import self_energy
from tests.quantum_transport.tight_binding import chain, chain_lead, strip, tight_binding


@pytest.mark.parametrize("overlap", [0.0, 0.1, -0.2])
def test_chain_transmits_one_channel_in_its_band_and_none_outside(overlap: float) -> None:
    # E (1 + 2 s cos φ) = 2 t cos φ, so the band is where |E| ≤ 2 |t − E s|.
    energies = np.linspace(-3.0, 3.0, 41)
    found = ns.transport(chain(8, overlap=overlap), energies, layer=1.0)
    inside = np.abs(energies) < 2 * np.abs(-1.0 - energies * overlap)
    np.testing.assert_allclose(found.transmission, inside, atol=1e-8)
    np.testing.assert_array_equal(found.channels_left, inside)


@pytest.mark.parametrize(("energy", "impurity"), [(0.3, 0.7), (-1.2, 2.0), (1.9, -1.0), (0.0, 1e3)])
def test_single_impurity(energy: float, impurity: float) -> None:
    # T = 1 / (1 + ε² / (4 t² − E²))
    on_site = np.zeros(9)
    on_site[4] = impurity
    found = ns.transport(chain(9, on_site=on_site), [energy], layer=1.0)
    assert found.transmission[0] == pytest.approx(1 / (1 + impurity**2 / (4 - energy**2)), abs=1e-8)


def test_two_barriers_let_their_resonance_pass() -> None:
    # A site between two weak bonds t': T = Γ² / ((E − ε − 2 Re Σ)² + Γ²), Σ = t'² (E/2 − i √(1 − E²/4)).
    weak, level = 0.1, 0.4
    n = 9
    on_site = np.zeros(n)
    on_site[4] = level

    def change(i: np.ndarray, j: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return np.where((i == 4) | (j == 4), weak, 1.0)

    energies = np.linspace(0.3, 0.5, 41)
    found = ns.transport(chain(n, on_site=on_site, change=change), energies, layer=1.0)
    real, width = weak**2 * energies / 2, 2 * weak**2 * np.sqrt(1 - energies**2 / 4)
    exact = width**2 / ((energies - level - 2 * real) ** 2 + width**2)
    np.testing.assert_allclose(found.transmission, exact, rtol=1e-7)
    assert found.transmission.max() > 0.99


def test_wire_of_a_square_lattice_has_integer_steps() -> None:
    width, energies = 5, np.linspace(-4.2, 4.2, 28)
    found = ns.transport(strip(width, 6), energies, layer=1.0)
    modes = 2 * np.cos(np.pi * np.arange(1, width + 1) / (width + 1))
    exact = np.sum(np.abs(energies[:, None] + modes) < 2, axis=1)
    np.testing.assert_allclose(found.transmission, exact, atol=1e-8)
    np.testing.assert_array_equal(found.channels_left, exact)


def test_square_lattice_over_k_is_the_wire_of_each_k() -> None:
    # Periodic across: T(E, k) = 1 where |E + 2 cos 2πk| < 2.
    positions = np.array([[0.0, 0, z] for z in range(6)])
    plane = tight_binding(positions, np.diag([1.0, 20.0, 6.0]), -1.0)
    energies = np.linspace(-3.9, 3.9, 14)
    found = ns.transport(plane, energies, layer=1.0, k_points=(8, 1))
    exact = np.abs(energies + 2 * np.cos(2 * np.pi * found.k_points[:, :1])) < 2
    np.testing.assert_allclose(found.per_k, exact, atol=1e-8)
    assert found.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("energy", [-2.5, -1.0, 0.0, 0.7, 3.0])
def test_self_energy_of_a_chain(energy: float, side: str) -> None:
    # Σ = (E ∓ √(E² − 4t²))/2 outside the band, (E − i√(4t² − E²))/2 inside.
    sigma = self_energy(chain_lead(), side, energy).sigma[0, 0]  # type: ignore[arg-type]
    if abs(energy) > 2:
        exact: complex = (energy - np.sign(energy) * np.sqrt(energy**2 - 4)) / 2
    else:
        exact = (energy - 1j * np.sqrt(4 - energy**2)) / 2
    assert sigma == pytest.approx(exact, abs=1e-7)


def test_self_energy_of_the_square_lattice() -> None:
    # In the wire's transverse modes the square lattice is a sum of chains.
    from nearsight.quantum_transport.junction import make_junction

    width, energy = 4, 0.9
    lead = make_junction(strip(width, 6), layer=1.0).left.at(np.zeros(3))
    sigma = self_energy(lead, "left", energy).sigma
    i = np.arange(1, width + 1)
    modes = np.sqrt(2 / (width + 1)) * np.sin(np.pi * np.outer(i, i) / (width + 1))
    own = energy + 2 * np.cos(np.pi * i / (width + 1)) + 1e-8j
    chains = (own - np.sqrt(own - 2) * np.sqrt(own + 2)) / 2
    np.testing.assert_allclose(sigma, modes @ np.diag(chains) @ modes.T, atol=1e-7)


def test_two_atoms_between_leads_without_features() -> None:
    # T = Γ² t² / |(E + iΓ/2)² − t²|²
    gamma, energies = 0.3, np.linspace(-2, 2, 9)
    positions = np.column_stack([np.zeros(2), np.zeros(2), [0.0, 1.0]])
    dimer = tight_binding(positions, np.diag([20.0, 20.0, 9.0]), -1.0)
    found = ns.transport(dimer, energies, wide_band=(0.5, gamma), local=True)
    exact = gamma**2 / np.abs((energies + 0.5j * gamma) ** 2 - 1) ** 2
    np.testing.assert_allclose(found.transmission, exact, rtol=1e-12)
    np.testing.assert_allclose(found.reflection + found.transmission, 1, atol=1e-12)
