"""Numbers that a caller gives: finite, and in range, or said in one line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nearsight.errors import InputError


def real_number(name: str, value: Any, *, above: float = -math.inf, least: float = -math.inf) -> float:
    """Return a number as a float.

    Parameters
    ----------
    name : str
        What it is, with its unit, such as "a temperature in K".
    value : float
        What was given.
    above, least : float, optional
        It must be greater than the first and not less than the second.

    Raises
    ------
    InputError
        If it is no finite number in this range.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isfinite(number) and number > above and number >= least:
        return number
    if above > -math.inf:
        name += f" above {above:g}"
    if least > -math.inf:
        name += f" of at least {least:g}"
    raise InputError(f"expected {name}, got {value!r}")


def whole_numbers(name: str, values: Any, count: int) -> tuple[int, ...]:
    """Return positive whole numbers.

    Parameters
    ----------
    name : str
        What they are.
    values : sequence of int
        What was given.
    count : int
        How many there must be.

    Raises
    ------
    InputError
        If there are others, or not so many.
    """
    given = tuple(values) if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else ()
    whole = [v for v in given if isinstance(v, int | np.integer) and not isinstance(v, bool) and v > 0]
    if len(given) != count or len(whole) != count:
        raise InputError(f"expected {name}, got {values!r}")
    return tuple(int(v) for v in whole)


def real_numbers(name: str, values: Any) -> np.ndarray:
    """Return an array of floats, (n,).

    Parameters
    ----------
    name : str
        What they are.
    values : array of float
        What was given.

    Raises
    ------
    InputError
        If they are no numbers, not finite, not one-dimensional, or none.
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros(0)
    if numbers.ndim != 1 or len(numbers) == 0 or not np.isfinite(numbers).all():
        raise InputError(f"expected {name}, got {values!r}")
    return numbers
