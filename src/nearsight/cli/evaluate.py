"""`nearsight evaluate`: a predicted Hamiltonian against a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nearsight.cli.json_output import as_json
from nearsight.electronic.compare import MatrixErrors, Tally
from nearsight.electronic.evaluation import Evaluation, evaluate
from nearsight.elements import symbol_of
from nearsight.formats.registry import read_any
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
) -> None:
    """Compare H."""
    result = evaluate(read_any(prediction), read_any(reference), eigenvalues)
    if json:
        typer.echo(as_json(as_dict(result)))
    else:
        print_evaluation(result, Console())


def as_dict(result: Evaluation) -> dict[str, Any]:
    """Plain numbers by key; the keys of eigenvalues only where there are some."""
    m, s = result.matrix, result.spectrum
    keys: dict[str, Any] = {
        "eps_n_mEh": ev_to_millihartree(m.eps_n), "eps_e_mEh": ev_to_millihartree(m.eps_e),
        "eps_tot_mEh": ev_to_millihartree(m.eps_tot), "eps_n_meV": 1e3 * m.eps_n, "eps_e_meV": 1e3 * m.eps_e,
        "eps_tot_meV": 1e3 * m.eps_tot, "n_nodes": m.nodes.n_blocks, "n_edges": m.edges.n_blocks,
        "mean_abs_H_nodes_mEh": ev_to_millihartree(m.nodes.magnitude),
        "mean_abs_H_edges_mEh": ev_to_millihartree(m.edges.magnitude),
        "hermiticity_error_eV": result.hermiticity_error,
        "n_blocks_outside": m.outside.n_blocks, "mean_abs_H_outside_mEh": ev_to_millihartree(m.outside.magnitude),
        "max_abs_H_outside_mEh": ev_to_millihartree(m.outside.largest),
        "element_pairs": [
            {"pair": [symbol_of(z) for z in p.elements], "on_site": p.on_site,
             "mae_mEh": ev_to_millihartree(p.tally.error), "mean_abs_H_mEh": ev_to_millihartree(p.tally.magnitude)}
            for p in m.element_pairs],
        "distances": [{"from_A": d.lower, "to_A": d.upper, "mae_mEh": ev_to_millihartree(d.tally.error),
                       "mean_abs_H_mEh": ev_to_millihartree(d.tally.magnitude)} for d in m.distances],
    }
    if s is not None:
        keys |= {
            "eig_rel_l1": s.relative_l1, "eig_rel_l1_occupied": s.relative_l1_occupied, "eig_rel_l2": s.relative_l2,
            "eig_rel_l2_occupied": s.relative_l2_occupied, "eig_mae_meV": 1e3 * s.mean_absolute,
            "eig_mae_occupied_meV": 1e3 * s.mean_absolute_occupied,
            "eig_mae_near_gap_meV": 1e3 * s.mean_absolute_near_gap, "eig_shift_occupied_meV": 1e3 * s.mean_occupied,
            "eig_max_meV": 1e3 * s.largest, "gap_pred_eV": s.gap_prediction, "gap_ref_eV": s.gap_reference,
        }
    return keys


def print_evaluation(result: Evaluation, console: Console) -> None:
    """Tables for people."""
    console.print(_matrix_table(result.matrix))
    outside = result.matrix.outside
    if outside.n_elements:
        console.print(f"Beyond the cutoff the reference holds {outside.n_blocks} more blocks, mean |H| "
                      f"{ev_to_millihartree(outside.magnitude):.4f} mE_h.", highlight=False, soft_wrap=True)
    s = result.spectrum
    if s is None:
        if result.missing_overlap:
            console.print("Neither file holds an overlap matrix: no eigenvalues.", highlight=False)
        return
    table = Table(title="Eigenvalues", title_justify="left")
    for column in ("", "all", "occupied"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("relative L1", f"{100 * s.relative_l1:.3f} %", f"{100 * s.relative_l1_occupied:.3f} %")
    table.add_row("relative L2", f"{100 * s.relative_l2:.3f} %", f"{100 * s.relative_l2_occupied:.3f} %")
    table.add_row("mean error", f"{1e3 * s.mean_absolute:.1f} meV", f"{1e3 * s.mean_absolute_occupied:.1f} meV")
    console.print(table)
    console.print(f"within 3 eV of the gap: mean error {1e3 * s.mean_absolute_near_gap:.1f} meV; "
                  f"gap {s.gap_prediction:.3f} eV, reference {s.gap_reference:.3f} eV", highlight=False, soft_wrap=True)


def _matrix_table(m: MatrixErrors) -> Table:
    table = Table(title="Matrix elements", title_justify="left")
    for column in ("", "blocks", "MAE mE_h", "MAE meV", "mean |H| mE_h"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("on site (ε_n)", *_cells(m.nodes))
    table.add_row("between atoms (ε_e)", *_cells(m.edges))
    table.add_row("all (ε_tot)", *_cells(m.total), end_section=True)
    for pair in m.element_pairs:
        a, b = (symbol_of(z) for z in pair.elements)
        table.add_row(f"{a} on site" if pair.on_site else f"{a}-{b}", *_cells(pair.tally))
    return table


def _cells(tally: Tally) -> tuple[str, ...]:
    return (str(tally.n_blocks), f"{ev_to_millihartree(tally.error):.4f}", f"{1e3 * tally.error:.2f}",
            f"{ev_to_millihartree(tally.magnitude):.3f}")
