"""What commands give: JSON on stdout, figures and tables as files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import typer

from nearsight.atomic_files import written_atomically
from nearsight.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_FORMATS = (".png", ".svg", ".pdf")


def json_text(tree: Any) -> str:
    """Return indented JSON of nested mappings, lists, numbers and text.

    Numbers that do not exist (NaN, infinite) become null, which every reader of JSON knows.
    """
    return json.dumps(_without_nan(tree), indent=2, allow_nan=False)


def print_json(tree: Any) -> None:
    """Print JSON to stdout."""
    typer.echo(json_text(tree))


def check_figure_name(path: Path) -> str:
    """Return the format of a figure by the ending of its name.

    Raises
    ------
    InputError
        For an ending that is none of .png, .svg, .pdf.
    """
    ending = path.suffix.lower()
    if ending not in FIGURE_FORMATS:
        raise InputError(
            f"{path}: expected the name of a figure to end in {', '.join(FIGURE_FORMATS)}, "
            f"got {path.suffix or 'no ending'}"
        )
    return ending[1:]


def write_figure(path: Path, figure: Figure, dots_per_inch: int = 160) -> None:
    """Write a figure, in the format that the name says.

    Raises
    ------
    InputError
        For another ending, or where the file cannot be written.
    """
    form = check_figure_name(path)
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format=form, dpi=dots_per_inch)


def write_table(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns of equal length as CSV.

    Raises
    ------
    InputError
        Where the file cannot be written.
    """
    with written_atomically(path) as temporary:
        pd.DataFrame(dict(columns)).to_csv(temporary, index=False, float_format="%.8g")


def _without_nan(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
