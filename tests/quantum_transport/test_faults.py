"""What cannot be a junction is refused in one line that says the way out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nearsight as ns
from nearsight.errors import InputError
from nearsight.operators.bloch import fold
from nearsight.quantum_transport.lead import Lead
from nearsight.quantum_transport.self_energy import self_energy
from tests.quantum_transport.tight_binding import chain, chain_lead, tight_binding


def test_leads_of_one_kind_are_needed() -> None:
    for options in ({}, {"layer": 1.0, "bulk": chain(1)}):
        with pytest.raises(InputError, match=r"expected leads of one kind"):
            ns.junction(chain(6), **options)  # type: ignore[arg-type]


def test_a_lead_that_is_not_periodic() -> None:
    positions = np.column_stack([np.zeros(8), np.zeros(8), np.arange(8.0)])
    positions[1, 0] += 0.3
    crooked = tight_binding(positions, np.diag([20.0, 20.0, 8.0]), -1.0, reach=1.2)
    with pytest.raises(InputError, match=r"at the left end .* to be a layer of the bulk .2.00 Å thick, .*, got atom 1"):
        ns.junction(crooked, bulk=chain(2))
    positions = np.column_stack([np.zeros(8), np.zeros(8), np.arange(8.0)])
    positions[2, 0] += 0.3
    crooked = tight_binding(positions, np.diag([20.0, 20.0, 8.0]), -1.0, reach=1.2)
    with pytest.raises(InputError, match=r"periodic lead at the left end .* repeating each other, got atom"):
        ns.junction(crooked, layer=2.0)


def test_another_element_in_the_lead() -> None:
    with pytest.raises(InputError, match=r"to be a layer of the bulk .*, got atom 0 \(He\)"):
        ns.junction(chain(6, numbers=np.array([2, 1, 1, 1, 1, 1])), bulk=chain(1))


def test_unequal_layers() -> None:
    positions = np.column_stack([np.zeros(6), np.zeros(6), [0, 1, 2.0, 4, 5, 6]])
    with pytest.raises(InputError, match="expected two equal layers of 2 Å"):
        ns.junction(tight_binding(positions, np.diag([20.0, 20.0, 7.0]), -1.0, reach=2.2), layer=2.0)


def test_a_layer_that_is_too_thin_says_how_thick_it_must_be() -> None:
    with pytest.raises(InputError, match=r"too thin: H and S reach 2\.00 Å .* at least 2\.00 Å"):
        ns.junction(chain(12, reach=2.2), layer=1.0)
    ns.junction(chain(12, reach=2.2), layer=2.0)


def test_leads_that_touch_or_overlap() -> None:
    touching = ns.junction(chain(5, reach=4.2), bulk=chain(1, reach=2.2), tolerance=1e-9)
    with pytest.raises(InputError, match="leads that do not touch"):
        touching.at()
    with pytest.raises(InputError, match="layer of 2 atoms at either end, got 3 atoms"):
        ns.junction(chain(3, reach=2.2), bulk=chain(1, reach=2.2))


def test_cells_that_do_not_fit() -> None:
    other = tight_binding(np.zeros((1, 3)), np.diag([19.0, 20.0, 1.0]), -1.0)
    with pytest.raises(InputError, match="multiple of the bulk's"):
        ns.junction(chain(6), bulk=other)


def test_missing_overlap_and_hermiticity() -> None:
    with pytest.raises(InputError, match="expected an overlap matrix S"):
        ns.junction(replace(chain(6), overlap=None), layer=1.0)
    given = chain(6)
    assert given.hamiltonian is not None
    values = given.hamiltonian.values.copy()
    values[3] += 0.5
    broken = replace(given, hamiltonian=given.hamiltonian.with_values(values))
    with pytest.raises(InputError, match="Hermitian"):
        ns.junction(broken, layer=1.0).at()


def test_matrices_at_gamma() -> None:
    given = chain(12)
    folded = replace(given, hamiltonian=fold(given.hamiltonian), overlap=fold(given.overlap))  # type: ignore[arg-type]
    exact = ns.transport(given, [0.3, 1.0], layer=1.0).transmission
    np.testing.assert_array_equal(ns.transport(folded, [0.3, 1.0], layer=1.0).transmission, exact)
    half = replace(given, overlap=fold(given.overlap))  # type: ignore[arg-type]
    np.testing.assert_array_equal(ns.transport(half, [0.3, 1.0], layer=1.0).transmission, exact)
    with pytest.raises(InputError, match="matrices in real space for k"):
        ns.transport(folded, [0.3], layer=1.0, k_points=(2, 1))
    short = replace(
        chain(4, reach=2.2),
        hamiltonian=fold(chain(4, reach=2.2).hamiltonian),  # type: ignore[arg-type]
        overlap=fold(chain(4, reach=2.2).overlap),  # type: ignore[arg-type]
    )
    with pytest.raises(InputError, match="end before half of the cell"):
        ns.junction(short, layer=1.0)


def test_energies_and_numbers_out_of_range() -> None:
    junction = ns.junction(chain(6), layer=1.0)
    with pytest.raises(InputError, match="ascending energies"):
        ns.transport(junction, [0.1, 0.1, 0.2])
    with pytest.raises(InputError, match="finite energies"):
        ns.transport(junction, [0.1, np.nan, 0.2])
    with pytest.raises(InputError, match="two ascending limits"):
        ns.transport(junction, (1.0, -1.0))
    with pytest.raises(InputError, match="η above 0"):
        ns.transport(junction, [0.1], eta=0.0)
    with pytest.raises(InputError, match="at least one process"):
        ns.transport(junction, [0.1], processes=0)
    with pytest.raises(InputError, match=r"bias of 0\.1 V at 300 K, got -0\.1 to 0\.1"):
        ns.transport(junction, (-0.1, 0.1)).current(0.1)
    with pytest.raises(InputError, match="expected a Fermi level"):
        ns.transport(chain(6, fermi=None), [0.1], layer=1.0)
    with pytest.raises(InputError, match="local densities of states, got a sweep without"):
        ns.transport(junction, [0.1]).require_density()


def test_leads_are_checked() -> None:
    with pytest.raises(InputError, match="Hermitian"):
        Lead(np.array([[0, 1.0], [0, 0]]), np.eye(2), np.eye(2), np.zeros((2, 2)))
    with pytest.raises(InputError, match="four matrices of one size"):
        Lead(np.eye(2), np.eye(3), np.eye(2), np.eye(2))
    with pytest.raises(InputError, match="above 0 eV"):
        self_energy(chain_lead(), "left", 0.0, eta=-1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": -1.0}, "layers in Å above 0, got -1"),
        ({"layer": np.nan}, "layers in Å above 0, got nan"),
        ({"layer": 1.0, "cut": np.nan}, "coordinate as cut, got nan"),
        ({"layer": 1.0, "tolerance": np.nan}, "tolerance of at least 0, got nan"),
        ({"layer": 1.0, "tolerance": 10.0}, "below all on-site blocks, got 10"),
        ({"wide_band": (np.nan, 1.0)}, "contact in Å above 0, got nan"),
        ({"wide_band": (0.5, np.inf)}, "in eV above 0, got inf"),
        ({"layer": 1.0, "fermi": np.nan}, "Fermi level in eV, got nan"),
        ({"layer": 1.0, "bias": np.inf}, "bias in V, got inf"),
        ({"layer": 1.0, "temperature": -1.0}, "temperature in K of at least 0, got -1"),
        ({"layer": 1.0, "k_points": "22"}, "mesh of two counts"),
        ({"layer": 1.0, "k_points": (1.5, 1)}, "mesh of two counts"),
        ({"layer": 1.0, "processes": 1.5}, "at least one process"),
        ({"layer": 1.0, "potential": np.full(6, np.nan)}, "finite potentials in eV, got one at atom 0"),
    ],
)
def test_numbers_that_cannot_be_are_said_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ns.transport(chain(6), [0.1], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("energies", ["abc", [1j], [[0.1]], []])
def test_energies_that_are_no_list_of_numbers(energies: object) -> None:
    with pytest.raises(InputError, match="list of finite energies"):
        ns.transport(chain(6), energies, layer=1.0)  # type: ignore[arg-type]


def test_a_matrix_that_is_no_overlap() -> None:
    device = chain(6)
    assert device.hamiltonian is not None
    with pytest.raises(InputError, match="diagonal is above 0, got 0 at atom 0"):
        ns.junction(replace(device, overlap=device.hamiltonian), layer=1.0)


def test_a_lead_whose_layers_differ_in_h_is_doubtful() -> None:
    def warnings(on_site: np.ndarray) -> list[str]:
        found = ns.transport(chain(9, on_site=on_site), [0.3], layer=1.0)
        return [note for note in found.notes if note.startswith("warning")]

    surface = np.zeros(9)
    surface[0] = 0.3
    (warning,) = warnings(surface)
    assert "the left lead does not repeat itself" in warning
    assert warnings(np.zeros(9)) == []


def test_a_bulk_in_other_units_is_doubtful() -> None:
    device, bulk = (chain(n, on_site=np.full(n, -5.0)) for n in (9, 1))
    assert bulk.hamiltonian is not None
    other = replace(bulk, hamiltonian=bulk.hamiltonian.with_values(bulk.hamiltonian.values / 27.2))
    notes = ns.transport(device, [0.3], bulk=other).notes
    assert any("energy reference is doubtful" in note for note in notes)


def test_a_wide_eta_is_doubtful_and_a_tiny_one_is_an_error_without_warnings(recwarn: pytest.WarningsRecorder) -> None:
    junction = ns.junction("data/AlHfO2Al_156.h5", bulk="data/Al32_lead.h5")
    assert any("η of 0.5 eV broadens" in note for note in ns.transport(junction, [0.1], eta=0.5).notes)
    assert not any("η" in note for note in ns.transport(junction, [0.1]).notes)
    with pytest.raises(InputError, match="raise eta"):
        ns.transport(junction, [-0.3], eta=1e-30)
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


def test_a_tolerance_that_reaches_beyond_the_leads_says_how_far() -> None:
    with pytest.raises(InputError, match=r"a layer of the bulk .16.20 Å thick, as far as H and S reach above 1e-300"):
        ns.junction("data/AlHfO2Al_156.h5", bulk="data/Al32_lead.h5", tolerance=1e-300)
