"""`nearsight spectrum`: eigenvalues, gap and Fermi level from H and S."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from nearsight.api.numbers import spectrum_numbers, spin_numbers, stochastic_density_numbers
from nearsight.api.sources import calculation_of
from nearsight.api.spectra import recommended_method, stochastic_density
from nearsight.api.spectra import spectrum as compute_spectrum
from nearsight.api.spectra import states as compute_states
from nearsight.api.spin import spin_spectrum
from nearsight.cli.output import print_json
from nearsight.cli.printing import Terminal, say, show
from nearsight.cli.running import shown
from nearsight.electronic.density_matrix import band_energy
from nearsight.electronic.filling import Filling
from nearsight.electronic.populations import Localisation, localisation
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spin import SpinSpectrum
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.operators.shards import folder_of
from nearsight.operators.store import read_calculation

if TYPE_CHECKING:
    from nearsight.electronic.kernel_polynomial import StochasticDensity

EXAMPLE = """Eigenvalues of H psi = e S psi at Gamma, with gap and Fermi level.

Example: nearsight spectrum data/aHfO2_96_A.h5

Example: nearsight spectrum prediction.h5 --overlap dft.h5 --states 20

With H of two spins: levels and electrons of either, one Fermi level or --moment.

Methods: dense (all levels, LAPACK), window (--states N levels around the gap, sparse; none is missed, for they are
counted), kpm (the density of states alone, for 100,000 orbitals and more). auto takes dense up to 10,000 orbitals, a
window of 50 states above that, and kpm where neither fits into memory. For densities of states: nearsight dos.
"""


class Way(str, Enum):
    """How levels or their density are computed."""

    AUTO = "auto"
    DENSE = "dense"
    WINDOW = "window"
    KPM = "kpm"


def spectrum_command(
    file: Annotated[Path, typer.Argument(help="file with H (and S)")],
    overlap: Annotated[Path | None, typer.Option("--overlap", help="file to take S from")] = None,
    electrons: Annotated[
        int | None,
        typer.Option("--electrons", min=0, help="valence electrons; by default those of the file, less its charge"),
    ] = None,
    method: Annotated[Way, typer.Option("--method", help="auto, dense, window or kpm")] = Way.AUTO,
    states: Annotated[
        int | None,
        typer.Option("--states", min=1, help="list this many around the gap, with the atoms that each is on"),
    ] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="K, of the electrons")] = None,
    project: Annotated[
        float | None,
        typer.Option(
            "--project",
            min=0,
            help="project out directions in which S is smaller; by default as the expected errors of H ask for",
        ),
    ] = None,
    moment: Annotated[
        float | None,
        typer.Option("--moment", help="of two spins: electrons of spin up less those of spin down, to be kept"),
    ] = None,
    resolution: Annotated[float, typer.Option("--resolution", min=1e-3, help="eV, of kpm")] = 0.2,
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Compute levels, or the density of states where there are too many."""
    in_parts = method is Way.KPM and overlap is None and states is None and folder_of(file) is not None
    calculation = (
        read_calculation(file, hamiltonian=False, overlap=False) if in_parts else calculation_of(file, overlap)
    )
    if electrons is None:
        electrons = calculation.n_electrons
    if in_parts:
        _density(file, electrons, resolution, calculation, json)
        return
    if calculation.spin_polarised:
        if method is not Way.AUTO or states is not None or project is not None:
            raise InputError("expected none of --method, --states, --project with H of two spins, got one of them")
        with shown(Terminal(stderr=True), "diagonalising") as progress:
            both = spin_spectrum(
                calculation, n_electrons=electrons, moment=moment, temperature=temperature, progress=progress
            )
        _give_spins(both, calculation, json)
        return
    if moment is not None:
        raise InputError("expected --moment with H of two spins, got a calculation without spin")
    way, number = recommended_method(calculation.require_hamiltonian().n_orbitals, method.value, states)
    if way == "kpm":
        _density(calculation, electrons, resolution, calculation, json)
        return
    options: dict[str, Any] = {"n_electrons": electrons, "method": way, "number": number, "threshold": project}
    places = None
    with shown(Terminal(stderr=True), "diagonalising") as progress:
        if number is None:
            found = compute_spectrum(calculation, progress=progress, **options)
        else:
            solved = compute_states(calculation, progress=progress, **options)
            numbers, s = calculation.structure.numbers, calculation.require_overlap()
            found, places = solved.spectrum, localisation(solved, s, numbers, calculation.basis)
    filling = found.filling(temperature)
    if json:
        print_json(spectrum_numbers(found, filling, places))
    else:
        _print(found, filling, places, temperature, calculation, Terminal())


def _print(
    spectrum: Spectrum,
    filling: Filling,
    places: Localisation | None,
    temperature: float | None,
    calculation: Calculation,
    console: Console,
) -> None:
    table = Table(show_header=False)
    rows = [
        ("structure", calculation.structure.formula),
        ("orbitals", str(spectrum.n_levels + spectrum.projected_out)),
        ("electrons", str(spectrum.n_electrons)),
        ("HOMO", f"{spectrum.homo:.4f} eV"),
        ("LUMO", f"{spectrum.lumo:.4f} eV"),
        ("gap", f"{spectrum.gap:.4f} eV"),
        ("Fermi level (mid-gap)", f"{spectrum.fermi:.4f} eV"),
    ]
    if temperature is not None:
        rows += [
            (f"chemical potential at {temperature:g} K", f"{filling.fermi:.4f} eV"),
            ("entropy, −TS", f"{filling.entropy_energy:.4f} eV"),
        ]
    if spectrum.complete:
        rows.append(("band energy", f"{band_energy(spectrum, filling):.4f} eV"))
    rows += [
        (
            "lowest, highest" + ("" if spectrum.complete else " of the window"),
            f"{spectrum.eigenvalues[0]:.3f}, {spectrum.eigenvalues[-1]:.3f} eV",
        ),
        ("condition number of S", f"{spectrum.overlap_condition:.4g}"),
        ("residual", f"{spectrum.residual:.1e} eV"),
    ]
    printed = calculation.eigenvalues
    if printed is not None and len(printed) <= spectrum.n_levels and spectrum.complete:
        difference = np.abs(spectrum.eigenvalues[: len(printed)] - printed).max()
        rows.append((f"largest difference to the {len(printed)} printed by the code", f"{difference:.1e} eV"))
    for name, text in rows:
        table.add_row(name, text.replace("nan eV", "none").replace("nan", "not computed"))
    show(console, table)
    if places is not None:
        show(console, _states(places, filling, calculation))
    for text in _notes(spectrum):
        say(console, text)


def _give_spins(found: SpinSpectrum, calculation: Calculation, json: bool) -> None:
    if json:
        print_json(spin_numbers(found))
        return
    table = Table("", "spin up", "spin down")
    for name, up, down in (
        ("electrons", f"{found.electrons_up:.4f}", f"{found.electrons_down:.4f}"),
        ("HOMO", f"{found.homo_up:.4f} eV", f"{found.homo_down:.4f} eV"),
        ("LUMO", f"{found.lumo_up:.4f} eV", f"{found.lumo_down:.4f} eV"),
        ("Fermi level", f"{found.fermi_up:.4f} eV", f"{found.fermi_down:.4f} eV"),
    ):
        table.add_row(name, up.replace("nan eV", "none"), down.replace("nan eV", "none"))
    show(Terminal(), table)
    say(
        Terminal(),
        f"{calculation.structure.formula}: magnetic moment {found.moment:.4f} Bohr magnetons, gap {found.gap:.4f} eV "
        "(HOMO and LUMO of any spin)",
    )


def _states(places: Localisation, filling: Filling, calculation: Calculation) -> Table:
    table = Table(title="States around the gap", title_justify="left")
    for column in ("level", "eV", "electrons", "on atoms", "most on"):
        table.add_column(column, justify="right")
    numbers = calculation.structure.numbers
    for k, (energy, atom) in enumerate(zip(places.spectrum.eigenvalues, places.largest_atom)):
        table.add_row(
            str(places.spectrum.first + k),
            f"{energy:.4f}",
            f"{filling.occupations[k]:.2f}",
            f"{places.participation[k]:.1f}",
            f"{symbol_of(int(numbers[atom]))} {atom} ({100 * places.largest_population[k]:.0f} %)",
        )
    return table


def _notes(spectrum: Spectrum) -> list[str]:
    notes = []
    if spectrum.projected_out:
        notes.append(
            f"{spectrum.projected_out} directions of the basis are projected out: S is too small there for the "
            "precision of the file or the expected errors of H (--project 0 keeps all that S allows)."
        )
    if spectrum.singly_occupied:
        notes.append(
            "The number of electrons is odd: the highest level holds one electron and is both HOMO and LUMO, "
            "so the gap is zero and the Fermi level is this level (electrons of both spins share levels)."
        )
    return notes


def _density(
    source: Path | Calculation, electrons: int, resolution: float, calculation: Calculation, json: bool
) -> None:
    """Estimate the density of states, of matrices in memory or of a file in parts, and print it."""
    with shown(Terminal(stderr=True), "kernel polynomials") as progress:
        density = stochastic_density(source, resolution=resolution, progress=progress)
    _give_density(stochastic_density_numbers(density, electrons), density, electrons, calculation, json)


def _give_density(
    keys: dict[str, Any], density: StochasticDensity, electrons: int, calculation: Calculation, json: bool
) -> None:
    if json:
        print_json(keys)
        return
    table = Table(show_header=False)
    at_fermi = keys["density_at_fermi_per_eV"]
    for name, text in (
        ("structure", calculation.structure.formula),
        ("orbitals", f"{density.n_levels:,}"),
        ("electrons", f"{electrons:,}"),
        ("Fermi level", _between(keys["fermi_eV"], keys["fermi_between_eV"])),
        ("resolution", f"{density.resolution:.3f} eV"),
        ("density of states at the Fermi level", "not known" if at_fermi is None else f"{at_fermi:.4g} electrons/eV"),
    ):
        table.add_row(name, text)
    show(Terminal(), table)


def _between(fermi: float | None, bracket: tuple[float, float]) -> str:
    """The Fermi level as far as it is known."""
    low, high = bracket
    if fermi is not None:
        return f"{fermi:.3f} eV (between {low:.3f} and {high:.3f} eV)"
    return f"not known: between {low:.3f} and {high:.3f} eV, where the count of electrons hardly changes (a gap?)"
