"""What commands give: JSON on stdout, figures and tables as files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearsight.atomic_files import written_atomically
from nearsight.cli.printing import echo
from nearsight.errors import InputError
from nearsight.output_path import TABLE, check_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_FORMATS = (".png", ".svg", ".pdf")
FIGURE = "figure"
"""Kind of an output of `check_outputs`: a figure in the format that its name says."""


def json_text(tree: Any) -> str:
    """Return indented JSON of nested mappings, lists, numbers and text.

    Numbers that do not exist (NaN, infinite) become null, which every reader of JSON knows.
    """
    return json.dumps(_without_nan(tree), indent=2, allow_nan=False)


def print_json(tree: Any) -> None:
    """Print JSON to stdout."""
    echo(json_text(tree))


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


def check_outputs(outputs: Iterable[tuple[Path | None, str]], inputs: Iterable[Path | None]) -> None:
    """Refuse files that a command cannot or must not write, before it begins to work.

    Parameters
    ----------
    outputs : iterable of (Path or None, str)
        Files that are written and what they will be, one of the kinds of `nearsight.output_path` or `FIGURE`; None
        where there is none.
    inputs : iterable of Path or None
        Files that are read, and are therefore not written.

    Raises
    ------
    InputError
        As of `nearsight.output_path.check_output`, and if two outputs are the same file.
    """
    read, places = [source for source in inputs if source is not None], []
    for path, kind in outputs:
        if path is None:
            continue
        check_output(path, read, f".{check_figure_name(path)} figure" if kind == FIGURE else kind)
        if path.resolve() in places:
            raise InputError(f"expected different files to write, got {path} twice")
        places.append(path.resolve())


def write_figure(path: Path, figure: Figure, dots_per_inch: int = 160) -> None:
    """Write a figure, in the format that the name says.

    Raises
    ------
    InputError
        For another ending, or where the file cannot be written.
    """
    form = check_figure_name(path)
    check_output(path, kind=f".{form} figure")
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format=form, dpi=dots_per_inch)


def write_table(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns of equal length as CSV.

    Raises
    ------
    InputError
        Where the file cannot be written.
    """
    check_output(path, kind=TABLE)
    with written_atomically(path) as temporary:
        import pandas as pd  # a third of a second, and only tables need it

        pd.DataFrame(dict(columns)).to_csv(temporary, index=False, float_format="%.8g")


def _without_nan(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
