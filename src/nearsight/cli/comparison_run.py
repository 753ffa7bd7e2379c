"""Several predictions of one structure: evaluate, tabulate, write one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nearsight.cli.report import prediction_facts, reference_facts, run_record
from nearsight.electronic.evaluation import evaluate
from nearsight.formats.registry import read_any
from nearsight.operators.calculation import Calculation
from nearsight.report.compared_prediction import ComparedPrediction, key_rows
from nearsight.report.comparison import Comparison, write_comparison


@dataclass(frozen=True)
class Contestant:
    """A network's name, the folder of its run, and the file with its prediction."""

    name: str
    run: Path
    prediction: Path


def compare(
    contestants: Sequence[Contestant], reference: Path, page: Path, console: Console
) -> list[ComparedPrediction]:
    """Evaluate, print a table, and write the page."""
    exact = read_any(reference)
    candidates = [judge(contestant, exact) for contestant in contestants]
    console.print(comparison_table(candidates))
    write_comparison(
        page,
        Comparison(
            f"Predicted Hamiltonians of {exact.structure.formula}",
            f"{' and '.join(c.name for c in candidates)}, trained on the same structure and compared, element by "
            f"element and level by level, with the reference {reference.name}, which they have not seen.",
            candidates,
            prediction_facts(exact)[:3],
            reference_facts(exact, reference),
        ),
    )
    return candidates


def judge(contestant: Contestant, exact: Calculation) -> ComparedPrediction:
    """What is known of one prediction."""
    prediction = read_any(contestant.prediction)
    log, config = run_record(contestant.run, required=False)
    return ComparedPrediction(contestant.name, evaluate(prediction, exact), log, prediction_facts(prediction), config)


def comparison_table(candidates: Sequence[ComparedPrediction]) -> Table:
    """The numbers that matter most, a column for each."""
    table = Table(title="Errors on the unseen structure", title_justify="left")
    table.add_column("")
    for name in (*(c.name for c in candidates), "reference"):
        table.add_column(name, justify="right")
    for row in key_rows(candidates):
        table.add_row(*row)
    return table
