"""What is wrong with calculations before a network learns them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from nearsight.api.sources import CalculationLike, calculation_of
from nearsight.checks.linter import Named, check_files
from nearsight.checks.subject import Finding
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.progress import Progress, silent


def check(
    sources: CalculationLike | Iterable[CalculationLike],
    *,
    tests: CalculationLike | Iterable[CalculationLike] = (),
    cutoff: float = 8.0,
    quick: bool = False,
    progress: Progress = silent,
) -> list[Finding]:
    """Look for wrong units, orders and signs, damaged or unconverged matrices, and leaks between training and test.

    Files are read one after the other; their matrices are forgotten before the next one is read. A file that cannot be
    read is a finding.

    Parameters
    ----------
    sources : str, pathlib.Path, Calculation or object with an attribute `calculation`, or several of them
        Data for training and validation.
    tests : as `sources`
        Data held back for testing. A structure that is among `sources`, too, is an error.
    cutoff : float
        Range (Å) of the network to be trained, for which the reach of H is judged.
    quick : bool
        Whether diagonalisations are skipped; eigenvalues are then counted instead of compared.
    progress : callable, optional
        Told the name of each file before it is checked.

    Returns
    -------
    list of Finding
        Errors first, then warnings and notes. Each has a `level`, the `check` and the `file` it is about, a `message`
        (expected … got …), its `meaning` and an `advice`. Notes say what could not be checked, too.

    Raises
    ------
    InputError
        If the cutoff is not positive, or a source is neither path nor calculation.

    Examples
    --------
    >>> from nearsight.api.checking import check
    >>> findings = check("data/silicon_2.h5")
    >>> [finding.check for finding in findings if finding.level == "error"]
    []
    >>> [finding.check for finding in check("data/silicon_2.h5", tests="data/silicon_2.h5", quick=True)][0]
    'duplicates'
    """
    if not cutoff > 0:
        raise InputError(f"expected a positive cutoff in Å, got {cutoff}")
    named = [_named(source, f"calculation {n}") for n, source in enumerate(_several(sources), 1)]
    held_back = [_named(source, f"test {n}") for n, source in enumerate(_several(tests), 1)]
    return check_files(named, held_back, cutoff=cutoff, quick=quick, progress=progress)


def _several(sources: CalculationLike | Iterable[CalculationLike]) -> list[CalculationLike]:
    one = isinstance(sources, (str, Path, Calculation)) or hasattr(sources, "calculation")
    return [cast(CalculationLike, sources)] if one else list(cast("Iterable[CalculationLike]", sources))


def _named(source: CalculationLike, name: str) -> Path | Named:
    """Leave paths for later, so that one file is in memory at a time."""
    if isinstance(source, (str, Path)):
        return Path(source)
    calculation = calculation_of(source)
    return f"{name} ({calculation.structure.formula})", calculation
