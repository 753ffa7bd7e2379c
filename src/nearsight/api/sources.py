"""What functions accept as a calculation or an operator: paths, calculations, and objects that hold one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from nearsight.errors import InputError
from nearsight.formats.registry import read_any
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation


class HoldsCalculation(Protocol):
    """Anything with an attribute `calculation`, such as a Hamiltonian that a model predicted."""

    @property
    def calculation(self) -> Calculation:
        """The structure, its basis and its operators."""
        ...


CalculationLike = str | Path | Calculation | HoldsCalculation
"""What `calculation_of` accepts."""
OverlapLike = CalculationLike | BlockOperator
"""What `overlap_of` accepts."""


def calculation_of(source: CalculationLike, overlap: OverlapLike | None = None) -> Calculation:
    """Return the calculation that an argument stands for.

    Parameters
    ----------
    source : str, pathlib.Path, Calculation or object with an attribute `calculation`
        A path names any file or folder that `nearsight import` reads without additions.
    overlap : as `source`, or BlockOperator, optional
        An overlap matrix that takes the place of the calculation's own.

    Returns
    -------
    Calculation
        Energies in eV, lengths in Å.

    Raises
    ------
    FormatError
        If a file is not there, of an unknown format or damaged.
    InputError
        If `source` is something else, or the overlap is missing or of other atoms.

    Examples
    --------
    >>> from nearsight.api.sources import calculation_of
    >>> calculation_of("data/silicon_2.h5").structure.formula
    'Si2'
    """
    found = read_any(Path(source)) if isinstance(source, (str, Path)) else getattr(source, "calculation", source)
    if not isinstance(found, Calculation):
        raise InputError(
            f"expected a path, a Calculation or an object that holds one, got {type(source).__name__}; "
            "read a file with nearsight.read"
        )
    return found if overlap is None else replace(found, overlap=overlap_of(overlap))


def overlap_of(source: OverlapLike) -> BlockOperator:
    """Return the overlap matrix S that an argument stands for.

    Parameters
    ----------
    source : str, pathlib.Path, Calculation, object with an attribute `calculation`, or BlockOperator
        An operator comes back as it is; of everything else it is the overlap of the calculation.

    Returns
    -------
    BlockOperator
        S, dimensionless.

    Raises
    ------
    InputError
        If there is no overlap, or `source` is something else.
    """
    return source if isinstance(source, BlockOperator) else calculation_of(source).require_overlap()
