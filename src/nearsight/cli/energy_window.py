"""Windows of energy as users write them: `-8:8`."""

from __future__ import annotations

from nearsight.errors import InputError


def energy_window(text: str) -> tuple[float, float] | None:
    """Two energies, eV; None for an empty text.

    Raises:
        InputError: not two ascending numbers with a colon between.
    """
    if not text:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise InputError(f"expected a window of two energies, such as -8:8, got {text!r}")
    return low, high
