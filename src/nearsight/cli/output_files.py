"""Figures and tables that commands write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nearsight.atomic_files import written_atomically
from nearsight.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = (".png", ".svg", ".pdf")


def output_written(path: Path, figure: Figure, dots_per_inch: int = 160) -> None:
    """A figure, in the format that the name says.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending not in FIGURES:
        raise InputError(
            f"{path}: expected the name of a figure to end in {', '.join(FIGURES)}, got {path.suffix or 'no ending'}"
        )
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format=ending[1:], dpi=dots_per_inch)


def table_written(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Columns of equal length as CSV.

    Raises:
        InputError: the file cannot be written.
    """
    with written_atomically(path) as temporary:
        pd.DataFrame(dict(columns)).to_csv(temporary, index=False, float_format="%.8g")
