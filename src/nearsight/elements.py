"""Chemical elements and the ghost, by atomic number."""

from __future__ import annotations

from ase.data import atomic_numbers, chemical_symbols

GHOST = 0
"""Atomic number of a ghost: a site with basis functions but no nucleus (CP2K's GHOST)."""

HEAVIEST = len(chemical_symbols) - 1

NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)


def symbol_of(number: int) -> str:
    """Return the chemical symbol of an element.

    Parameters
    ----------
    number : int
        Atomic number; 0 is the ghost.

    Returns
    -------
    str
        The symbol, `X` for the ghost, and such as `Z=200` where there is no such element.
    """
    return chemical_symbols[number] if 0 <= number <= HEAVIEST else f"Z={number}"


def number_of(symbol: str) -> int | None:
    """Return the atomic number of an element.

    Parameters
    ----------
    symbol : str
        Chemical symbol in its usual spelling; `X` is the ghost.

    Returns
    -------
    int or None
        The atomic number, or None where there is no such element.
    """
    return atomic_numbers.get(symbol)


def group_of(number: int) -> int | None:
    """Return the group of an element in the periodic table.

    Parameters
    ----------
    number : int
        Atomic number.

    Returns
    -------
    int or None
        1 to 18; None for a ghost, for hydrogen (which is like no other element) and for the f block.
    """
    period = next((k for k, last in enumerate(NOBLE_GASES) if number <= last), 0)
    if period == 0 or number == 1:
        return None
    before_end = NOBLE_GASES[period] - number
    from_start = number - NOBLE_GASES[period - 1]
    if from_start <= 2 and before_end > 0:
        return from_start
    return 18 - before_end if before_end < (6 if period < 4 else 16) else None
