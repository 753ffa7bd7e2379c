"""The small runs of CP2K in tests/data/cp2k_runs.zip, for tests of reading them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nearsight.api.spectra import spectrum
from nearsight.operators.calculation import Calculation

ARCHIVE = Path(__file__).parents[1] / "data" / "cp2k_runs.zip"


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Change a text file; every pattern must be there."""
    text = path.read_text()
    for old, new in changes:
        assert re.search(old, text, re.MULTILINE), old
        text = re.sub(old, new, text, flags=re.MULTILINE)
    path.write_text(text)


def off(calculation: Calculation) -> float:
    """Largest difference to the printed eigenvalues, eV."""
    assert calculation.eigenvalues is not None
    own = spectrum(calculation).eigenvalues[: len(calculation.eigenvalues)]
    return float(np.abs(own - calculation.eigenvalues).max())
