"""Chemical elements and the ghost."""

from __future__ import annotations

from ase.data import atomic_numbers, chemical_symbols

GHOST = 0
"""Atomic number of a ghost: a site with basis functions but no nucleus (CP2K's GHOST)."""

HEAVIEST = len(chemical_symbols) - 1


def symbol_of(number: int) -> str:
    """Chemical symbol of an atomic number; `X` for a ghost."""
    return chemical_symbols[number] if 0 <= number <= HEAVIEST else f"Z={number}"


def number_of(symbol: str) -> int | None:
    """Atomic number of a symbol (`X` is the ghost), or None where there is no such element."""
    return atomic_numbers.get(symbol)
