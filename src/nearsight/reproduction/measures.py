"""What is measured: keys of numbers, and how tables and figures write them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measure:
    """How a number is named and written.

    Attributes
    ----------
    title : str
        Symbol or words, with the unit.
    digits : int
        Significant digits; 0 for whole numbers.
    """

    title: str
    digits: int = 3


MEASURES = {
    "eps_n_mEh": Measure("ε_n / mE_h"),
    "eps_e_mEh": Measure("ε_e / mE_h"),
    "eps_tot_mEh": Measure("ε_tot / mE_h"),
    "eps_tot_meV": Measure("ε_tot / meV"),
    "eps_tot_uEh": Measure("ε_tot / µE_h"),
    "eps_n_uEh": Measure("ε_n / µE_h"),
    "eps_e_uEh": Measure("ε_e / µE_h"),
    "gap_error_meV": Measure("gap error / meV"),
    "gap_eV": Measure("gap / eV", 4),
    "near_gap_meV": Measure("levels near the gap / meV"),
    "levels_percent": Measure("levels, rel. L1 / %"),
    "occupied_percent": Measure("occupied levels, rel. L1 / %"),
    "unlike_percent": Measure("atoms unlike training / %"),
    "epochs": Measure("epochs", 0),
    "minutes": Measure("minutes"),
    "atoms": Measure("atoms", 0),
    "seconds": Measure("s an epoch"),
    "speed_up": Measure("speed-up"),
    "virtual_edges": Measure("virtual / labelled edges"),
    "largest_share": Measure("largest part / whole, edges"),
    "memory_factor": Measure("whole / largest part, edges"),
    "coordination": Measure("mean O around Hf"),
    "first_peak_A": Measure("first peak of g(r), Hf–O / Å"),
    "outliers": Measure("Hf with 4 or 8 O", 0),
    "reach_A": Measure("last element above 1 meV / Å"),
    "largest_at_8A_mEh": Measure("largest element at 8 Å / mE_h"),
    "current_A": Measure("current / A"),
    "log_ratio": Measure("log10 I/I_DFT"),
    "change_meV": Measure("mean change of levels / meV"),
    "change_occupied_meV": Measure("of the occupied ones / meV"),
    "near_mEh": Measure("change within 3 Å / mE_h"),
    "far_mEh": Measure("change beyond 7 Å / mE_h"),
    "far_percent": Measure("the same, of the mean on-site element / %"),
}


SMALLEST = 1e-4
"""A number below it is written with its power of ten."""


def title_of(key: str) -> str:
    """Return how a measure is called in a table."""
    return MEASURES[key].title


def written(key: str, value: Any) -> str:
    """Return a number of a measure as text; a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, str):
        return value
    digits = MEASURES[key].digits
    if not digits or value == 0:
        return f"{value:,.0f}"
    if abs(value) < SMALLEST:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa.replace('-', '−')}e{int(exponent)}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, decimals):,.{max(0, decimals)}f}"
    return text.replace("-", "−")
