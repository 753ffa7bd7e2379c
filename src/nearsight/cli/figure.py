"""`nearsight figure`: the analysis figures of the paper, from any files."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from nearsight.api.files import read
from nearsight.api.spectra import evaluate
from nearsight.cli.arguments import cutoff_list
from nearsight.cli.output import print_json, write_figure
from nearsight.electronic.locality import decay, response, spectra_by_cutoff
from nearsight.electronic.spectrum_errors import spectrum_errors
from nearsight.elements import number_of, symbol_of
from nearsight.errors import InputError
from nearsight.structures.radial_distribution import coordination, pair_distribution
from nearsight.structures.structure import Structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLE = """The analysis figures of the paper.

Example: nearsight figure spectrum prediction.h5 data/aHfO2_372_D.h5 -o spectrum.png

Example: nearsight figure structure data/aHfO2_372_C.h5 data/aHfO2_372_D.h5 -o structure.png

Example: nearsight figure decay data/aHfO2_372_C.h5 data/aPtGe2_96_train.h5 -o decay.png

Example: nearsight figure cutoff data/aHfO2_372_C.h5 --cutoffs 4,6,8 -o cutoff.png

Example: nearsight figure response data/aHfO2_96_A.h5 data/response/displaced.h5 -o response.png

spectrum (Fig. 5): levels of a prediction and of its reference. structure (Fig. 7): coordination and g(r) of
structures. decay (Fig. 8): blocks of H against distance. cutoff (Fig. 9): levels of an H cut off. response (Fig. 10):
how far a change of one atom is felt; the first file is the unchanged structure. --json prints the numbers behind a
figure.
"""


class Kind(str, Enum):
    """Which."""

    SPECTRUM = "spectrum"
    STRUCTURE = "structure"
    DECAY = "decay"
    CUTOFF = "cutoff"
    RESPONSE = "response"


def figure_command(
    kind: Annotated[Kind, typer.Argument(help="spectrum, structure, decay, cutoff or response")],
    files: Annotated[list[Path], typer.Argument(help="see below")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="figure: .png, .svg or .pdf")] = None,
    cutoffs: Annotated[str, typer.Option("--cutoffs", help="Å, of `cutoff`; the whole H is there, too")] = "4,5,6,7,8",
    pair: Annotated[str, typer.Option("--pair", help="elements of `structure`: neighbours around a centre")] = "Hf-O",
    bond: Annotated[float, typer.Option("--bond", help="Å, of `structure`: neighbours are nearer than this")] = 2.75,
    json: Annotated[bool, typer.Option("--json", help="print the numbers")] = False,
) -> None:
    """Draw."""
    if output is None and not json:
        raise InputError("expected a figure (-o figure.png) or --json, got none")
    if kind == Kind.STRUCTURE:
        numbers, draw = _structures(files, pair, bond)
    elif kind == Kind.CUTOFF:
        numbers, draw = _cutoffs(files, cutoffs)
    else:
        numbers, draw = {Kind.SPECTRUM: _spectrum, Kind.DECAY: _decay, Kind.RESPONSE: _response}[kind](files)
    if json:
        print_json(numbers)
    if output is not None:
        write_figure(output, draw())


Drawn = tuple[dict[str, Any], Callable[[], "Figure"]]
"""Numbers, and what draws them."""


def _spectrum(files: list[Path]) -> Drawn:
    if len(files) != 2:
        raise InputError(f"expected a prediction and its reference, got {len(files)} files")
    result = evaluate(files[0], files[1])
    ours, theirs = result.prediction, result.reference
    if ours is None or theirs is None:
        raise InputError("expected an overlap in one of the files, got none: levels need it")
    errors = spectrum_errors(ours, theirs)
    numbers = {
        "relative_l1": errors.relative_l1,
        "relative_l2": errors.relative_l2,
        "relative_l1_occupied": errors.relative_l1_occupied,
        "relative_l2_occupied": errors.relative_l2_occupied,
        "gap_prediction_eV": errors.gap_prediction,
        "gap_reference_eV": errors.gap_reference,
        "prediction_eV": ours.eigenvalues.tolist(),
        "reference_eV": theirs.eigenvalues.tolist(),
    }

    def draw() -> Figure:
        from nearsight.report.figures import spectrum_figure

        return spectrum_figure(ours, theirs)

    return numbers, draw


def _structures(files: list[Path], pair: str, bond: float) -> Drawn:
    from nearsight.report.material_figures import StructureSummary, structure_figure

    symbols = pair.split("-")
    numbers = [number_of(symbol) for symbol in symbols]
    if len(symbols) != 2 or None in numbers:
        raise InputError(f"expected two elements, such as Hf-O, got {pair!r}")
    centre, neighbour = (int(z or 0) for z in numbers)
    summaries = {}
    for file in files:
        structure = read(file).structure
        distributions = {
            f"{symbol_of(a)}–{symbol_of(b)}": pair_distribution(structure, (a, b), 8.0, 0.1)
            for a, b in ((centre, neighbour), (centre, centre), (neighbour, neighbour))
        }
        summaries[_name(file)] = StructureSummary(
            coordination(structure, (centre, neighbour), bond),
            _wrapped(structure)[structure.numbers == centre],
            distributions,
        )
    keys = {
        name: {
            "coordination": s.coordination.tolist(),
            "mean_coordination": float(s.coordination.mean()),
            "first_peak_A": {p: d.peak for p, d in s.distributions.items()},
        }
        for name, s in summaries.items()
    }
    return keys, lambda: structure_figure(summaries, symbols[0], symbols[1])


def _decay(files: list[Path]) -> Drawn:
    decays = {}
    for file in files:
        calculation = read(file)
        decays[_name(file)] = decay(calculation.require_hamiltonian(), calculation.structure)
    keys = {}
    for name, found in decays.items():
        middle, median, largest = found.envelope()
        keys[name] = {
            "distance_A": middle.tolist(),
            "median_eV": median.tolist(),
            "largest_eV": largest.tolist(),
            "on_site_median_eV": float(np.median(found.on_site)),
        }

    def draw() -> Figure:
        from nearsight.report.material_figures import decay_figure

        return decay_figure(decays)

    return keys, draw


def _cutoffs(files: list[Path], text: str) -> Drawn:
    every = [*cutoff_list(text), float("inf")]
    spectra = {_name(file): dict(zip(every, spectra_by_cutoff(read(file), every))) for file in files}
    keys = {
        name: [
            {
                "cutoff_A": None if np.isinf(c) else c,
                "gap_eV": s.gap,
                "mean_change_meV": 1e3 * float(np.abs(s.eigenvalues - found[every[-1]].eigenvalues).mean()),
                "mean_change_occupied_meV": 1e3
                * float(np.abs(s.eigenvalues - found[every[-1]].eigenvalues)[: s.n_filled].mean()),
            }
            for c, s in found.items()
        ]
        for name, found in spectra.items()
    }

    def draw() -> Figure:
        from nearsight.report.material_figures import cutoff_figure

        return cutoff_figure(spectra)

    return keys, draw


def _response(files: list[Path]) -> Drawn:
    if len(files) < 2:
        raise InputError("expected the unchanged structure and one changed or more, got one file")
    unperturbed = read(files[0])
    responses = {_name(file): response(unperturbed, read(file)) for file in files[1:]}
    keys = {
        name: {
            "site": r.site,
            "shift_meV": 1e3 * r.shift,
            "atoms": r.atoms.tolist(),
            "distance_A": r.distance.tolist(),
            "error_eV": r.error.tolist(),
            "aligned_eV": r.aligned.tolist(),
        }
        for name, r in responses.items()
    }
    numbers = unperturbed.structure.numbers

    def draw() -> Figure:
        from nearsight.report.material_figures import response_figure

        labels = {int(z): symbol_of(int(z)) for z in np.unique(numbers)}
        return response_figure(responses, numbers, labels)

    return keys, draw


def _wrapped(structure: Structure) -> np.ndarray:
    """(N, 3) Å, inside the cell."""
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    return np.asarray((fractional % 1.0) @ structure.cell)


def _name(file: Path) -> str:
    return file.stem
