"""The Fermi level against the levels that the electrons fill."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.checks.finding import Finding
from nearsight.checks.subject import Subject
from nearsight.units import HARTREE_IN_EV

CHECK = "Fermi level"
ROUNDING = 5e-3
"""eV, of printed energies."""
METAL = 0.2
"""eV: with a smaller gap levels are filled with smearing."""
SMEARED = 0.5
"""eV, a few kT at the electronic temperatures in use (up to 1500 K), by which a metal's Fermi level may leave the
gap."""


def check_fermi(subject: Subject) -> Iterator[Finding]:
    """HOMO ≤ E_F ≤ LUMO, as counted from the electrons of the neutral structure."""
    fermi = subject.calculation.fermi
    if fermi is None:
        return
    edges = _edges(subject)
    if edges is None:
        why = ("the valence of an element is not known" if subject.n_electrons is None else
               "HOMO and LUMO are not among the levels at hand")
        yield subject.finding(
            "note", CHECK, f"not checked: {why}", "Levels cannot be filled.",
            "Nothing, where the Fermi level is not used.",
        )
        return
    homo, lumo = edges
    slack = SMEARED if lumo - homo < METAL else ROUNDING
    if homo - slack <= fermi <= lumo + slack:
        return
    yield subject.finding(
        "error", CHECK, f"expected a Fermi level between HOMO and LUMO, {homo:.4f} to {lumo:.4f} eV, got {fermi:.4f} "
        "eV",
        _cause(fermi, homo - slack, lumo + slack),
        "Compare with the output; where only H or only the Fermi level was shifted, shift both.",
    )


def _edges(subject: Subject) -> tuple[float, float] | None:
    """HOMO and LUMO, eV, from printed levels or else our own."""
    electrons = subject.n_electrons
    if electrons is None or electrons == 0:
        return None
    printed = subject.calculation.eigenvalues
    highest, lowest_empty = (electrons + 1) // 2 - 1, electrons // 2
    for levels in (printed, subject.levels if printed is None or len(printed) <= lowest_empty else None):
        if levels is not None and len(levels) > lowest_empty:
            ordered = np.sort(levels)
            return float(ordered[highest]), float(ordered[lowest_empty])
    return None


def _cause(fermi: float, lower: float, upper: float) -> str:
    for factor, text in ((HARTREE_IN_EV, "27.2114"), (1 / HARTREE_IN_EV, "1/27.2114")):
        if lower <= fermi * factor <= upper:
            return f"Multiplied by {text} it would be: eV and Hartree were confused."
    return ("It is in another zero of energy than H, of another run, or the structure is charged (electrons are "
            "counted for the neutral one).")
