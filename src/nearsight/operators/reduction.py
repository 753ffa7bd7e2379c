"""Smaller files: elements of the matrices that are too small to matter are left out, and their digits rounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.units import HARTREE_IN_EV

_UNITS = {
    "hamiltonian": HARTREE_IN_EV,
    "hamiltonian_up": HARTREE_IN_EV,
    "hamiltonian_down": HARTREE_IN_EV,
    "overlap": 1.0,
    "h0": HARTREE_IN_EV,
}


def pruned(operator: BlockOperator, threshold: float) -> BlockOperator:
    """Set small elements to zero, and drop blocks of zeros. A Hermitian operator stays Hermitian.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.
    threshold : float
        In the operator's unit; elements with |x| < threshold become zero.

    Returns
    -------
    BlockOperator
        On the pairs with a nonzero element.

    Raises
    ------
    InputError
        If the threshold is negative.
    """
    if not threshold >= 0:
        raise InputError(f"expected a threshold of at least 0, got {threshold}")
    values = np.where(np.abs(operator.values) < threshold, 0, operator.values)
    filled = np.concatenate([[0], np.cumsum(values != 0)])
    return operator.with_values(values).select(np.diff(filled[operator.offsets]) > 0)


def rounded(operator: BlockOperator, step: float) -> BlockOperator:
    """Round the elements, which then compress to half the size. A Hermitian operator stays Hermitian.

    Parameters
    ----------
    operator : BlockOperator
        Any operator.
    step : float
        In the operator's unit. Elements become multiples of the largest power of two that is not above it, so each
        changes by half a step at most.

    Returns
    -------
    BlockOperator
        On the same pairs.

    Raises
    ------
    InputError
        If the step is not positive.
    """
    if not step > 0:
        raise InputError(f"expected a positive step, got {step}")
    power = 2.0 ** np.floor(np.log2(step))
    return operator.with_values(np.round(operator.values / power) * power)


def reduced(calculation: Calculation, drop_below: float = 0.0, resolution: float | None = None) -> Calculation:
    """Make a calculation whose files are smaller; its provenance (`stored`) says what was done.

    Parameters
    ----------
    calculation : Calculation
        With any of H, S and H₀.
    drop_below : float, default 0.0
        Elements smaller than this (E_h in H and H₀, 1 in S) become zero, and blocks of zeros are dropped.
    resolution : float, optional
        The other elements are rounded to this (in the same units); by default they are not.

    Returns
    -------
    Calculation
        With the reduced matrices.

    Raises
    ------
    InputError
        If a number is negative.
    """
    matrices: dict[str, BlockOperator | None] = {}
    said = []
    for name, unit in _UNITS.items():
        operator: BlockOperator | None = getattr(calculation, name)
        if operator is not None and drop_below:
            operator = pruned(operator, drop_below * unit)
        if operator is not None and resolution:
            operator = rounded(operator, resolution * unit)
        matrices[name] = operator
    if drop_below:
        said.append(f"elements below {drop_below:g} E_h (H) or {drop_below:g} (S) left out")
    if resolution:
        said.append(f"numbers rounded to {resolution:g} E_h (H) or {resolution:g} (S)")
    provenance = {**calculation.provenance, **({"stored": ", ".join(said)} if said else {})}
    estimate, (old, new) = calculation.error_estimate, (calculation.hamiltonian, matrices["hamiltonian"])
    if estimate is not None and old is not None and new is not None:
        estimate = estimate[old.find(new.source, new.target, new.shift)]
    return replace(calculation, provenance=provenance, error_estimate=estimate, **matrices)  # type: ignore[arg-type]
