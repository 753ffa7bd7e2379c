"""Hamiltonians of sisl, where it is installed: there and back, and its transmission."""

from __future__ import annotations

import numpy as np
import pytest

import nearsight as ns
from nearsight.quantum_transport.self_energy import decimated_self_energy
from nearsight.quantum_transport.sisl_objects import from_sisl, to_sisl
from tests.quantum_transport.tight_binding import chain, chain_lead

sisl = pytest.importorskip("sisl")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_there_and_back() -> None:
    given = chain(5, overlap=0.1, on_site=np.arange(5.0))
    again = from_sisl(to_sisl(given))
    for a, b in ((again.hamiltonian, given.hamiltonian), (again.overlap, given.overlap)):
        assert a is not None
        assert b is not None
        dense = [
            [o.block(i, j, (0, 0, r))[0, 0] for i in range(5) for j in range(5) for r in (-1, 0, 1)] for o in (a, b)
        ]
        np.testing.assert_array_equal(dense[0], dense[1])
    np.testing.assert_allclose(again.structure.positions, given.structure.positions)


def test_self_energies_are_those_of_sisl() -> None:
    lead = to_sisl(chain(1, overlap=0.1))
    for side, direction in (("left", "-C"), ("right", "+C")):
        theirs = sisl.RecursiveSI(lead, direction)
        for energy in (-1.5, 0.3, 1.1):
            ours = decimated_self_energy(chain_lead(overlap=0.1), side, energy, 1e-6)  # type: ignore[arg-type]
            assert ours is not None
            np.testing.assert_allclose(theirs.self_energy(energy + 1e-6j), ours, atol=1e-8)


def test_graphene_of_sisl_has_one_channel_at_its_edge() -> None:
    graphene = sisl.geom.graphene(orthogonal=True)
    hamiltonian = sisl.Hamiltonian(graphene)
    hamiltonian.construct([(0.1, 1.44), (0.0, -2.7)])
    device = from_sisl(hamiltonian.tile(4, 0))
    found = ns.transport(device, [-0.5, 0.5], bulk=from_sisl(hamiltonian), axis=0, k_points=(1, 1))
    np.testing.assert_allclose(found.transmission, found.channels_left, atol=1e-6)
