"""`nearsight figure`: the analysis figures of the paper, from any files."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.figures import (
    Analysis,
    decay_with_distance,
    level_comparison,
    levels_by_cutoff,
    response_to_one_atom,
    structure_comparison,
)
from nearsight.cli.arguments import cutoff_list
from nearsight.cli.output import FIGURE, check_outputs, print_json, write_figure
from nearsight.errors import InputError

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
    """Which of the paper's analyses is drawn."""

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
    """Analyse, and draw or print."""
    if output is None and not json:
        raise InputError("expected a figure (-o figure.png) or --json, got none")
    check_outputs([(output, FIGURE)], files)
    analysis = _analysis(kind, files, cutoffs, pair, bond)
    if json:
        print_json(analysis.numbers)
    if output is not None:
        write_figure(output, analysis.draw())


def _analysis(kind: Kind, files: list[Path], cutoffs: str, pair: str, bond: float) -> Analysis:
    named = _named(files)
    if kind == Kind.SPECTRUM:
        if len(files) != 2:
            raise InputError(f"expected a prediction and its reference, got {len(files)} files")
        return level_comparison(*files)
    if kind == Kind.STRUCTURE:
        return structure_comparison(named, pair, bond)
    if kind == Kind.DECAY:
        return decay_with_distance(named)
    if kind == Kind.CUTOFF:
        return levels_by_cutoff(named, cutoff_list(cutoffs))
    if len(files) < 2:
        raise InputError("expected the unchanged structure and one changed or more, got one file")
    return response_to_one_atom(files[0], _named(files[1:]))


def _named(files: list[Path]) -> dict[str, Path]:
    """Files by their stems, and by their whole paths where stems are the same."""
    stems = [file.stem for file in files]
    return {file.stem if stems.count(file.stem) == 1 else str(file): file for file in files}
