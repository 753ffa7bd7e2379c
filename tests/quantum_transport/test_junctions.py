"""Junctions from calculations: leads of the bulk, energy references, bias, and what atoms and cells may do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nearsight as ns
from nearsight.operators.calculation import Calculation
from nearsight.quantum_transport.landauer import conductance, current
from nearsight.quantum_transport.potential import linear_drop
from nearsight.units import CONDUCTANCE_QUANTUM
from tests.quantum_transport.tight_binding import chain, tight_binding


def film(repeats: tuple[int, int, int], overlap: float = 0.05, on_site: float = 0.0, fermi: float = 0.1) -> Calculation:
    """A simple cubic crystal with second neighbours, `repeats` atoms a cell."""
    grid = np.array(np.meshgrid(*map(np.arange, repeats), indexing="ij")).reshape(3, -1).T.astype(float)
    n = len(grid)
    return tight_binding(
        grid[np.argsort(grid[:, 2], kind="stable")],
        np.diag(np.array(repeats, dtype=float)),
        -1.0,
        overlap,
        reach=1.1,
        on_site=np.full(n, on_site),
        fermi=fermi,
    )


def test_a_lead_from_one_atom_of_bulk_is_that_from_the_ends() -> None:
    device, bulk = film((2, 2, 6)), film((1, 1, 1))
    energies = [-1.3, 0.2, 1.7]
    for k_points in ((1, 1), (2, 3)):
        a = ns.transport(device, energies, layer=1.0, k_points=k_points)
        b = ns.transport(device, energies, bulk=bulk, k_points=k_points)
        assert b.fermi == pytest.approx(0.1)
        np.testing.assert_allclose(b.transmission, a.transmission, atol=1e-7)
        np.testing.assert_allclose(a.transmission, a.channels_left, atol=1e-7)


def test_transmission_over_k_of_a_cell_is_that_of_its_supercell() -> None:
    # Γ of 2 × 2 cells is the mesh through Γ of one cell.
    small, large = film((1, 1, 5)), film((2, 2, 5))
    energies = np.array([-1.1, 0.3])
    wide = ns.transport(large, energies, layer=1.0).transmission
    junction = ns.junction(small, layer=1.0)
    from nearsight.quantum_transport.scattering import scatter

    total = np.zeros(2)
    for kx in (0, 0.5):
        for ky in (0, 0.5):
            at_k = junction.at((kx, ky, 0.0))
            total += [scatter(at_k.device, at_k.left, at_k.right, e + 0.1).transmission for e in energies]
    np.testing.assert_allclose(total, wide, atol=1e-7)


def test_order_of_atoms_and_cut_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    on_site = np.zeros(10)
    on_site[5] = 0.8
    device = chain(10, on_site=on_site)
    exact = ns.transport(device, [0.3], layer=1.0).transmission
    order = rng.permutation(10)
    positions = device.structure.positions[order] + rng.integers(-2, 3, size=(10, 1)) * device.structure.cell[2]
    shuffled = tight_binding(positions, device.structure.cell, -1.0, on_site=on_site[order])
    np.testing.assert_allclose(ns.transport(shuffled, [0.3], layer=1.0).transmission, exact, atol=1e-12)
    # The same ring, cut elsewhere: the impurity stays between the leads.
    np.testing.assert_allclose(ns.transport(device, [0.3], layer=1.0, cut=0.2).transmission, exact, atol=1e-12)


@pytest.mark.parametrize("mu", [0.37, -2.0])
def test_energy_references_are_matched_through_the_overlap(mu: float) -> None:
    bulk = chain(1, overlap=0.1, fermi=0.2)
    on_site = np.zeros(9)
    on_site[4] = 0.5
    device = chain(9, overlap=0.1, on_site=on_site)
    assert device.hamiltonian is not None
    assert device.overlap is not None
    moved = replace(
        device, hamiltonian=device.hamiltonian.with_values(device.hamiltonian.values + mu * device.overlap.values)
    )
    junction = ns.junction(moved, bulk=bulk)
    assert junction.left_match is not None
    assert junction.left_match.value == pytest.approx(mu, abs=1e-12)
    assert junction.left_match.residual < 1e-12
    assert junction.fermi == pytest.approx(0.2 + mu)
    assert junction.fermi_mismatch == pytest.approx(0.0, abs=1e-12)
    energies = [-0.9, 0.4]
    exact = ns.transport(device, energies, bulk=bulk).transmission
    np.testing.assert_allclose(ns.transport(junction, energies).transmission, exact, atol=1e-10)
    # Without matching, the leads' bands are elsewhere.
    apart = ns.transport(moved, energies, bulk=bulk, match=False, fermi=0.2 + mu).transmission
    assert np.abs(apart - exact).max() > 1e-3


def test_a_doubtful_reference_is_said() -> None:
    from nearsight.quantum_transport.junction_notes import junction_notes

    on_site = np.zeros(9)
    on_site[-1] = 0.6
    notes = junction_notes(ns.junction(chain(9, on_site=on_site), bulk=chain(1)))
    assert any("Fermi levels differ by +0.600 eV" in note for note in notes)


def test_bias_raises_the_left_lead_and_drops_through_the_overlap() -> None:
    device = chain(8, overlap=0.1)
    found = ns.transport(device, [0.1], layer=1.0, bias=0.4, potential="linear")
    drop = linear_drop(ns.junction(device, layer=1.0), 0.4)
    np.testing.assert_allclose(drop, 0.4 * (0.5 - np.arange(8) / 7))
    lead = found.junction.left.at(np.zeros(3))
    assert lead.h0[0, 0] == pytest.approx(0.2)
    assert lead.h1[0, 0] == pytest.approx(-1 + 0.1 * 0.2)
    # A uniform potential moves the energies and nothing else.
    lifted = ns.transport(device, [0.5], layer=1.0, bias=0.0, potential=np.full(8, 0.0)).transmission
    np.testing.assert_allclose(lifted, 1, atol=1e-8)


def test_current_of_an_open_channel_is_the_quantum_of_conductance_times_bias() -> None:
    energies = np.linspace(-1, 1, 21)
    open_channel = np.ones(21)
    for temperature in (0.0, 77.0, 300.0):
        assert current(energies, open_channel, 0.2, temperature) == pytest.approx(0.2 * CONDUCTANCE_QUANTUM, rel=1e-5)
        assert conductance(energies, open_channel, temperature) == pytest.approx(1.0, rel=1e-5)
    assert current(energies, open_channel, -0.2) == pytest.approx(-current(energies, open_channel, 0.2))
    step = (energies > 0).astype(float)
    kt = 8.617333262e-5 * 300
    exact = np.log1p(np.exp(0.1 / kt)) - np.log1p(np.exp(-0.1 / kt))
    fine = np.linspace(-1, 1, 20001)
    got = current(fine, (fine > 0).astype(float), 0.2)
    assert got == pytest.approx(kt * exact * CONDUCTANCE_QUANTUM, rel=1e-3)
    assert step.any()


def test_density_in_the_window_is_on_the_way_of_the_current() -> None:
    on_site = np.zeros(12)
    on_site[5:7] = 3.0
    found = ns.transport(chain(12, on_site=on_site), (-1.0, 1.0), step=0.02, layer=1.0, local=True, bias=0.5)
    density = found.density_in_window(0.5)
    assert density.shape == (12,)
    assert density[:5].mean() > 10 * density[7:].mean() > 0
    assert found.reflection is not None
    np.testing.assert_allclose(found.reflection + found.transmission, found.channels_left, atol=1e-10)
