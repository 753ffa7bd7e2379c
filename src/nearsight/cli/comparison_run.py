"""Several predictions of one structure side by side: the table of their errors."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from nearsight.report.compared_prediction import ComparedPrediction, key_rows


def comparison_table(predictions: Sequence[ComparedPrediction]) -> Table:
    """Return the numbers that matter most, a column for each prediction."""
    table = Table(title="Errors on the unseen structure", title_justify="left")
    table.add_column("")
    for name in (*(c.name for c in predictions), "reference"):
        table.add_column(name, justify="right")
    for row in key_rows(predictions):
        table.add_row(*row)
    return table
