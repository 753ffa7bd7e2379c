"""Figures of transport: T(E) with the bias window, local densities along the device, currents (paper, Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from nearsight.quantum_transport.junction import Junction
from nearsight.quantum_transport.observables import BondCurrents
from nearsight.quantum_transport.result import Transmission
from nearsight.report.material_figures import COLOURS
from nearsight.report.style import styled

SPREAD = 0.7
"""Å, standard deviation over which an atom's states are spread along the device."""
FLOOR = 1e-12
"""Transmissions below are not drawn."""
FAINTEST = 0.1
"""Currents below this fraction of the largest are not drawn."""


def transmission_figure(
    transmissions: Mapping[str, Transmission], bias: float = 0.0, title: str = "", dashed: tuple[str, ...] = ()
) -> Figure:
    """Draw T(E) of junctions on a logarithmic axis, with the bias window shaded.

    Parameters
    ----------
    transmissions : mapping of str to Transmission
        Label → transmission.
    bias : float, optional
        V; the window of energies that carries current.
    title : str, optional
        The title of the figure.
    dashed : tuple of str, optional
        Labels that are drawn dashed and in the colour of the one before.
    """
    with styled():
        figure = Figure(figsize=(6.8, 3.8), layout="constrained")
        ax = figure.subplots()
        if bias:
            ax.axvspan(-abs(bias) / 2, abs(bias) / 2, color="#dfe5ec", lw=0, label=f"bias window, {abs(bias):g} V")
        number = -1
        for label, found in transmissions.items():
            number += label not in dashed
            ax.semilogy(
                found.energies,
                np.maximum(found.transmission, FLOOR),
                color=COLOURS[max(number, 0) % len(COLOURS)],
                ls="--" if label in dashed else "-",
                lw=1.2,
                label=label,
            )
        ax.axvline(0, color="black", lw=0.9, ls=":")
        ax.set(xlabel="E − E_F (eV)", ylabel="transmission (one spin)", title=title)
        ax.legend()
    return figure


def local_density_figure(found: Transmission, points: int = 200, title: str = "") -> Figure:
    """Draw the local density of states along the device against energy, both leads together.

    Parameters
    ----------
    found : Transmission
        With local densities.
    points : int, default 200
        Number of points along the direction of transport.
    title : str, optional
        The title of the figure.

    Raises
    ------
    InputError
        If there are no local densities.
    """
    density = found.require_density() + (0 if found.density_right is None else found.density_right)
    axial = found.junction.axial
    place = axial.along * float(np.linalg.norm(axial.structure.cell[axial.axis]))
    grid = np.linspace(place.min() - SPREAD, place.max() + SPREAD, points)
    shape = np.exp(-0.5 * ((grid[:, None] - place) / SPREAD) ** 2) / (SPREAD * np.sqrt(2 * np.pi))
    spread = shape @ np.maximum(density.T, 0)
    top = max(float(spread.max()), 1e-3)
    with styled():
        figure = Figure(figsize=(6.8, 3.6), layout="constrained")
        ax = figure.subplots()
        image = ax.pcolormesh(
            grid,
            found.energies,
            np.maximum(spread.T, 1e-4 * top),
            norm=LogNorm(vmin=1e-4 * top, vmax=top),
            shading="nearest",
        )
        figure.colorbar(image, ax=ax, label="states per eV, Å and spin")
        ghosts = axial.structure.numbers == 0
        if ghosts.any():
            ax.plot(place[ghosts], np.zeros(int(ghosts.sum())), "o", ms=4, mfc="none", mec="#d1495b", label="vacancies")
            ax.legend(labelcolor="white")
        ax.grid(False)
        ax.set(xlabel="along the device (Å)", ylabel="E − E_F (eV)", title=title)
    return figure


def current_figure(biases: Sequence[float], currents: Sequence[float], title: str = "") -> Figure:
    """Draw current against bias.

    Parameters
    ----------
    biases, currents : sequence of float
        V and A.
    title : str, optional
        The title of the figure.
    """
    order = np.argsort(biases)
    with styled():
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        ax = figure.subplots()
        ax.plot(np.asarray(biases)[order], np.asarray(currents)[order], "o-", color=COLOURS[0], lw=1.2, ms=4)
        ax.set(xlabel="bias (V)", ylabel="current (A)", title=title)
    return figure


def bond_current_figure(junction: Junction, currents: BondCurrents, title: str = "") -> Figure:
    """Draw the current from atom to atom, seen from the side.

    Parameters
    ----------
    junction : Junction
        Whose atoms they are.
    currents : BondCurrents
        In channels, atoms numbered as in the structure.
    title : str, optional
        The title of the figure.

    Notes
    -----
    Bonds within the leads' layers are left out: part of their current flows through the lead beyond. A bond that
    leaves the cell across the axis is drawn towards the image that is nearest.
    """
    structure, axis = junction.structure, junction.axial.axis
    across = (axis + 1) % 3
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    length, width = (float(np.linalg.norm(structure.cell[k])) for k in (axis, across))
    ends = np.concatenate([junction.left.atoms, junction.right.atoms])
    inner = ~(np.isin(currents.source, ends) & np.isin(currents.target, ends))
    source, target, flow = currents.source[inner], currents.target[inner], currents.current[inner]
    step = fractional[target] - fractional[source]
    step[:, across] -= np.round(step[:, across])
    forward = flow * np.where(step[:, axis] < 0, -1.0, 1.0)
    size = np.abs(flow) / max(float(np.abs(flow).max(initial=0.0)), 1e-300)
    drawn = size > FAINTEST
    begin = fractional[source][:, [axis, across]] * (length, width)
    lines = np.stack([begin, begin + step[:, [axis, across]] * (length, width)], axis=1)[drawn]
    with styled():
        figure = Figure(figsize=(6.8, 3.4), layout="constrained")
        ax = figure.subplots()
        for forwards, colour, label in ((True, COLOURS[0], "towards the right"), (False, COLOURS[1], "back")):
            chosen = (forward[drawn] >= 0) == forwards
            ax.add_collection(
                LineCollection(lines[chosen], linewidths=5 * size[drawn][chosen], colors=colour, alpha=0.7)
            )
            ax.plot([], [], color=colour, lw=3, label=label)
        place, height = fractional[:, axis] * length, fractional[:, across] * width
        ghosts = structure.numbers == 0
        ax.scatter(place[~ghosts], height[~ghosts], s=9, color="#9aa5b1", zorder=3)
        if ghosts.any():
            ax.scatter(
                place[ghosts],
                height[ghosts],
                s=24,
                facecolors="none",
                edgecolors="#d1495b",
                zorder=4,
                label="vacancies",
            )
        ax.grid(False)
        ax.set(xlabel="along the device (Å)", ylabel="across (Å)", title=title, aspect="equal")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)
    return figure
