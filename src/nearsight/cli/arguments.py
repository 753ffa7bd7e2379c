"""Arguments that users write as text: windows of energy, meshes of k-points, lists of cutoffs."""

from __future__ import annotations

from nearsight.errors import InputError


def energy_window(text: str) -> tuple[float, float] | None:
    """Return two energies (eV) of a text such as ``-8:8``; None for an empty text.

    Raises
    ------
    InputError
        Unless there are two ascending numbers with a colon between.
    """
    if not text:
        return None
    try:
        low, high = (float(number) for number in text.split(":"))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise InputError(f"expected a window of two energies, such as -8:8, got {text!r}")
    return low, high


def mesh_counts(text: str) -> tuple[int, ...] | None:
    """Return the three counts of a mesh of k-points such as ``2,2,2``; None for an empty text.

    Raises
    ------
    InputError
        Unless there are three positive whole numbers.
    """
    if not text:
        return None
    try:
        counts = tuple(int(number) for number in text.split(","))
    except ValueError:
        counts = ()
    if len(counts) != 3 or min(counts) < 1:
        raise InputError(f"expected a mesh of three counts, such as 2,2,2, got {text!r}")
    return counts


def cutoff_list(text: str) -> list[float]:
    """Return ascending cutoffs (Å) of a text such as ``4,6,8``.

    Raises
    ------
    InputError
        Where something is no number.
    """
    try:
        return sorted({float(number) for number in text.split(",")})
    except ValueError:
        raise InputError(f"expected cutoffs in Å, such as 4,6,8, got {text!r}") from None
