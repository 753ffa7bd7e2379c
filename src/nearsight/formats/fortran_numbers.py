"""Numbers as CP2K and other Fortran programs write and read them: `9.0D1`, `1.0/3.0`, `2*0.5`."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?")


def parse_number(text: str) -> float:
    """Parse one real number.

    Parameters
    ----------
    text : str
        A decimal number with an exponent of E or D, or several joined by `*` and `/`, from left to right, as CP2K's
        own parser takes them.

    Returns
    -------
    float
        The number, finite.

    Raises
    ------
    ValueError
        If it is anything else; infinities and NaN are not numbers here.
    """
    parts = re.split(r"([*/])", text.strip())
    result = _plain(parts[0], text)
    for sign, part in zip(parts[1::2], parts[2::2], strict=True):
        factor = _plain(part, text)
        if sign == "/" and factor == 0:
            raise ValueError(f"division by zero in {text!r}")
        result = result * factor if sign == "*" else result / factor
    if abs(result) == float("inf"):
        raise ValueError(f"{text!r} is too large for a number")
    return result


def _plain(part: str, whole: str) -> float:
    if not _PLAIN.fullmatch(part):
        raise ValueError(f"could not convert string to float: {whole!r}")
    return float(part.upper().replace("D", "E"))
