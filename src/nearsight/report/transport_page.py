"""The page of a transport study: transmission, currents, where the states are, and the junction with its vacancies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import GHOST
from nearsight.quantum_transport.observables import BondCurrents
from nearsight.quantum_transport.result import Transmission
from nearsight.report.html import Block, Cards, Drawing, Section, Table, document, number
from nearsight.report.structure_view import Colouring, structure_section
from nearsight.report.transport_figures import (
    bond_current_figure,
    current_figure,
    local_density_figure,
    transmission_figure,
)


@dataclass(frozen=True, eq=False)
class TransportPage:
    """What the page of a transport study shows.

    Attributes
    ----------
    title : str
        The line at the top.
    transmissions : sequence of (str, Transmission)
        Label and transmission; the first one's junction and local densities are shown.
    biases, currents : sequence of float
        V and A.
    conductance : float
        G₀.
    temperature : float
        K.
    notes : sequence of str
        What should be known of the junction.
    bond_currents : BondCurrents or None
        At the Fermi level, of the first junction; None where local quantities were not asked for.
    """

    title: str
    transmissions: Sequence[tuple[str, Transmission]]
    biases: Sequence[float]
    currents: Sequence[float]
    conductance: float
    temperature: float
    notes: Sequence[str] = ()
    bond_currents: BondCurrents | None = None


def write_transport_page(path: Path, page: TransportPage) -> None:
    """Write the page as one HTML file.

    Parameters
    ----------
    path : Path
        The file; it is replaced whole or stays as it was.
    page : TransportPage
        What it shows.

    Raises
    ------
    InputError
        Where the file cannot be written.
    """
    write_text_atomically(path, document(page.title, "Quantum transport", _sections(page)))


def _sections(page: TransportPage) -> list[Block]:
    first = page.transmissions[0][1]
    largest = max(page.biases, key=abs)
    at_largest = page.currents[list(page.biases).index(largest)]
    cards = Cards(
        (
            (f"current at {largest:g} V", number(at_largest, ".3e", "A"), f"{page.temperature:g} K, both spins"),
            ("conductance", number(page.conductance, ".3e", "G₀"), "at zero bias"),
            (
                "open channels",
                number(float(np.interp(0, first.energies, first.channels_left)), ".0f"),
                "of the left lead",
            ),
        )
    )
    drawn = Drawing(
        transmission_figure(dict(page.transmissions), bias=largest),
        "Transmission against energy",
        "Transmission for one spin, against energy from the Fermi level. The bias window is shaded.",
    )
    rows = [(f"{bias:g}", number(value, ".4e")) for bias, value in zip(page.biases, page.currents)]
    parts: list[Block] = [cards, Section("Transmission", (drawn,))]
    current: list[Block] = [Table(("bias (V)", "current (A)"), rows)]
    if len(page.biases) > 2:
        caption = "Current against bias, both spins."
        current.append(Drawing(current_figure(page.biases, page.currents), "Current against bias", caption))
    parts.append(Section("Current", tuple(current)))
    if first.density_left is not None:
        caption = "States per energy, length and spin along the device, of both leads; vacancies are circles."
        parts.append(
            Section("Where the states are", (Drawing(local_density_figure(first), "Local density of states", caption),))
        )
    if page.bond_currents is not None:
        caption = (
            "Current from atom to atom at the Fermi level, of electrons that come in from the left; lines are as wide "
            "as the current."
        )
        figure = bond_current_figure(first.junction, page.bond_currents)
        parts.append(Section("Where the current flows", (Drawing(figure, "Current from atom to atom", caption),)))
    parts.append(structure_section(first.junction.structure, _colourings(first)))
    parts.append(
        Section("The junction", (Table((), [(str(n + 1), note) for n, note in enumerate(page.notes)], "facts"),))
    )
    return parts


def _colourings(found: Transmission) -> list[Colouring]:
    structure, junction = found.junction.structure, found.junction
    role = np.zeros(len(structure))
    role[junction.left.atoms] = -1
    role[junction.right.atoms] = 1
    vacancy = (structure.numbers == GHOST).astype(float)
    result = [Colouring("leads", role, "", "diverging", "Layers of the left lead (−1) and of the right one (1).")]
    if vacancy.any():
        result.append(Colouring("vacancies", vacancy, "", "sequential", "Vacancies (1): functions without a nucleus."))
    if found.density_left is not None and len(found.energies) > 1:
        window = found.density_left[np.argmin(np.abs(found.energies))]
        caption = "Local density of states at the Fermi level, of states that come in from the left."
        result.append(Colouring("from the left", window, "1/eV", "sequential", caption))
    return result
