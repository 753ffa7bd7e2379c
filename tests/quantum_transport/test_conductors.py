"""The potential between two conductors: plates, chains, and electrodes that touch."""

from __future__ import annotations

import numpy as np
import pytest

import nearsight as ns
from nearsight.errors import InputError
from nearsight.quantum_transport.conductors import conducting_atoms, conductor_potential
from tests.quantum_transport.tight_binding import chain, tight_binding


def plates() -> ns.Calculation:
    """Three planes of a square lattice at either end of a device of 14 Å, and a row of other atoms between."""
    planes = [(x, y, z) for z in (0, 1, 2, 12, 13, 14) for x in range(2) for y in range(2)]
    row = [(0.5, 0.5, z) for z in range(3, 12)]
    numbers = np.array([1] * len(planes) + [2] * len(row))
    return tight_binding(np.array(planes + row, dtype=float), np.diag([2.0, 2.0, 15.0]), -1.0, numbers=numbers)


def test_between_plates_the_potential_is_linear() -> None:
    device = plates()
    junction = ns.junction(device, layer=1.0)
    left, right = conducting_atoms(junction)
    np.testing.assert_array_equal(left, np.arange(12))
    np.testing.assert_array_equal(right, np.arange(12, 24))
    phi = conductor_potential(junction, 0.6)
    assert phi[left] == pytest.approx(np.full(12, 0.3))
    assert phi[right] == pytest.approx(np.full(12, -0.3))
    middle = phi[24:]
    steps = np.diff(middle)
    # Away from the corrugation of the plates the field is that of a capacitor, whose plates are near their last atoms.
    np.testing.assert_allclose(steps[2:-2], steps[4], rtol=1e-3)
    assert -0.6 / steps[4] == pytest.approx(10, abs=1.0)
    np.testing.assert_allclose(middle, -middle[::-1], atol=1e-9)
    np.testing.assert_allclose(conductor_potential(junction, -0.3), phi / -2, atol=1e-12)


def test_a_bias_between_conductors_enters_the_transmission() -> None:
    numbers = np.ones(13, dtype=int)
    numbers[4:9] = 2
    device = chain(13, numbers=numbers)
    junction = ns.junction(device, layer=1.0)
    phi = conductor_potential(junction, 0.5)
    assert np.all(np.diff(phi) <= 1e-12)
    assert phi[3] == pytest.approx(0.25)
    found = ns.transport(junction, [0.3], bias=0.5, potential="conductors").transmission
    np.testing.assert_array_equal(found, ns.transport(junction, [0.3], bias=0.5, potential=phi).transmission)
    linear = ns.transport(junction, [0.3], bias=0.5, potential="linear").transmission
    assert abs(found - linear)[0] > 1e-4


def test_electrodes_that_are_one_piece_of_metal() -> None:
    with pytest.raises(InputError, match="one piece of metal from lead to lead"):
        ns.transport(chain(9), [0.1], layer=1.0, bias=0.1, potential="conductors")
