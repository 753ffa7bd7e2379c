"""`nearsight evaluate`: a predicted Hamiltonian against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nearsight.api.numbers import evaluation_numbers
from nearsight.api.spectra import evaluate
from nearsight.cli.output import print_json
from nearsight.cli.printing import Terminal, say, show
from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.matrix_errors import BlockErrors, MatrixErrors
from nearsight.electronic.spectrum_errors import LevelErrors, StateErrors
from nearsight.elements import symbol_of
from nearsight.units import ev_to_millihartree

EXAMPLE = """Compare a predicted Hamiltonian with a reference: matrix elements and eigenvalues.

Example: nearsight evaluate prediction.h5 data/aHfO2_372_D.h5

The errors are the paper's: mean absolute errors of the matrix elements on site (eps_n), of all directed pairs of atoms
(eps_e) and of both (eps_tot), over the blocks that the prediction holds. The overlap is the reference's.
"""


def evaluate_command(
    prediction: Annotated[Path, typer.Argument(help="file with the predicted H")],
    reference: Annotated[Path, typer.Argument(help="file with the reference H (and S)")],
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
    eigenvalues: Annotated[bool, typer.Option("--eigenvalues/--no-eigenvalues", help="compare the spectra")] = True,
    states: Annotated[
        bool | None,
        typer.Option(
            "--states/--no-states",
            help="compare wavefunctions and charges, too; takes several times as long; by default up to 3,000 orbitals",
        ),
    ] = None,
) -> None:
    """Compare a predicted H with a reference."""
    result = evaluate(prediction, reference, eigenvalues=eigenvalues, states=states)
    if json:
        print_json(evaluation_numbers(result))
    else:
        print_evaluation(result, Terminal())


def print_evaluation(result: Evaluation, console: Console) -> None:
    """Print tables of an evaluation for people."""
    show(console, _matrix_table(result.matrix))
    outside = result.matrix.outside
    if outside.n_elements:
        say(
            console,
            f"Beyond the cutoff the reference holds {outside.n_blocks} more blocks, mean |H| "
            f"{ev_to_millihartree(outside.magnitude):.4f} mE_h.",
        )
    s = result.spectrum
    if s is None:
        if result.missing_overlap:
            say(console, "Neither file holds an overlap matrix: no eigenvalues.")
        return
    table = Table(title="Eigenvalues", title_justify="left")
    for column in ("", "all", "occupied"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("relative L1", f"{100 * s.relative_l1:.3f} %", f"{100 * s.relative_l1_occupied:.3f} %")
    table.add_row("relative L2", f"{100 * s.relative_l2:.3f} %", f"{100 * s.relative_l2_occupied:.3f} %")
    table.add_row("mean error", f"{1e3 * s.mean_absolute:.1f} meV", f"{1e3 * s.mean_absolute_occupied:.1f} meV")
    show(console, table)
    say(
        console,
        f"within 3 eV of the gap: mean error {1e3 * s.mean_absolute_near_gap:.1f} meV; "
        f"gap {s.gap_prediction:.3f} eV, reference {s.gap_reference:.3f} eV",
    )
    if result.levels is not None:
        show(console, _physical_table(result.levels, result.states))
    projected_out = result.prediction.projected_out if result.prediction is not None else 0
    if projected_out:
        say(
            console,
            f"{projected_out} ill-conditioned directions of the basis are projected out of the prediction's spectrum.",
        )


def _physical_table(levels: LevelErrors, states: StateErrors | None) -> Table:
    table = Table(title="What follows (docs/metrics.md)", title_justify="left", show_header=False)
    rows = [
        (
            "HOMO, LUMO, gap",
            " / ".join(f"{1e3 * value:+.0f}" for value in (levels.homo, levels.lumo, levels.gap)) + " meV",
        ),
        ("Fermi level", f"{1e3 * levels.fermi:+.0f} meV"),
        (
            "occupied levels, common shift / rest",
            f"{1e3 * levels.shift:+.1f} / {1e3 * levels.occupied_shifted:.1f} meV",
        ),
        (
            "density of states, all / occupied / shifted",
            " / ".join(f"{100 * value:.1f}" for value in (levels.dos, levels.dos_occupied, levels.dos_shifted)) + " %",
        ),
        ("band energy", f"{1e3 * levels.band_energy:+.1f} meV per atom"),
    ]
    if states is not None:
        rows += [
            ("overlap of HOMO, LUMO", f"{states.homo_overlap:.3f}, {states.lumo_overlap:.3f}"),
            ("electrons misplaced", f"{100 * states.misplaced:.4f} %"),
            (
                "Mulliken charges",
                f"r.m.s. {states.rms_charge:.5f}, mean {states.charge:.5f}, largest {states.largest_charge:.4f} e",
            ),
        ]
    for row in rows:
        table.add_row(*row)
    return table


def _matrix_table(m: MatrixErrors) -> Table:
    table = Table(title="Matrix elements", title_justify="left")
    for column in ("", "blocks", "MAE mE_h", "MAE meV", "mean |H| mE_h"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("on site (ε_n)", *_cells(m.nodes))
    table.add_row("between atoms (ε_e)", *_cells(m.edges))
    table.add_row("all (ε_tot)", *_cells(m.total), end_section=True)
    for pair in m.element_pairs:
        a, b = (symbol_of(z) for z in pair.elements)
        table.add_row(f"{a} on site" if pair.on_site else f"{a}-{b}", *_cells(pair.errors))
    return table


def _cells(errors: BlockErrors) -> tuple[str, ...]:
    return (
        str(errors.n_blocks),
        f"{ev_to_millihartree(errors.mean_absolute):.4f}",
        f"{1e3 * errors.mean_absolute:.2f}",
        f"{ev_to_millihartree(errors.magnitude):.3f}",
    )
