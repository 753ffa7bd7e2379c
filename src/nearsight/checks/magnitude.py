"""Magnitude: on-site energies are a few to a few tens of eV; confusing eV and E_h makes them 27.2114 times that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.checks.subject import Finding, Subject
from nearsight.elements import symbol_of
from nearsight.operators.blocks import BlockOperator
from nearsight.units import HARTREE_IN_EV, ev_to_millihartree

CHECK = "units"
USUAL = (1.5, 120.0)
"""Mean |H_ii| (eV) of valence electrons: 13 in HfO₂, about 6 in light sp elements, tens with semi-core shells."""
LIKELY = (3.0, 60.0)
"""A mean (eV) outside of `USUAL` that is inside of this after a change of units was in other units."""
DEEP = -30.0
"""Energy (eV) of a level so low that it is that of one orbital, whose diagonal element is nearly as low."""
CORE = (0.3, 1.3)
"""The 1s level of an atom over −Z²/2 E_h: 0.4 in lithium, 0.7 in silicon, 0.93 in hafnium."""
NEAR_FACTOR = 1.8
"""A ratio of energies within this factor of 27.2114 (or its inverse) is taken for it."""

FACTORS = {HARTREE_IN_EV: "eV were taken for Hartree", 1 / HARTREE_IN_EV: "Hartree were taken for eV"}
ADVICE = "Divide or multiply the matrix by 27.2114, or import the code's own files; H is in eV in a store."


def check_magnitude(subject: Subject) -> Iterator[Finding]:
    """Check H by its diagonal; with printed eigenvalues by the lowest of them."""
    h = subject.hamiltonian
    if h is None or not h.on_site.any():
        return
    diagonal = _diagonal(h)
    lowest = _lowest_diagonal(subject, h, diagonal)
    printed = subject.calculation.eigenvalues
    if printed is not None and len(printed) and printed[0] < DEEP:
        found = list(_against_printed(subject, lowest, float(printed[0])))
        if not found and _all_electrons(subject):  # H and the printed levels may both be in another unit
            found = list(_against_core(subject, lowest))
        yield from found
    elif _only_valence(subject):
        yield from _by_scale(subject, h, float(np.abs(diagonal).mean()))
    elif _all_electrons(subject):
        yield from _against_core(subject, lowest)
    else:
        yield subject.finding(
            "note",
            CHECK,
            "not checked: the units of H by its size",
            "Core levels may be as deep as a wrong unit would make others.",
            "Nothing where the code's eigenvalues are in the file, which are compared; otherwise add them.",
        )


def _against_printed(subject: Subject, diagonal: float, printed: float) -> Iterator[Finding]:
    """The lowest level is below the lowest H_ii/S_ii, and near it, since it is deep."""
    ratio = diagonal / printed if printed else float("nan")
    factor = _factor(ratio)
    if factor is not None:
        yield subject.finding(
            "error",
            CHECK,
            f"expected a lowest diagonal element of H near the lowest printed eigenvalue, {printed:.4g} eV, got "
            f"{diagonal:.4g} eV, {ratio:.3g} times as much",
            f"H is off by the factor {factor:.6g}: {FACTORS[factor]}, or the eigenvalues are in other units.",
            ADVICE,
        )


def _by_scale(subject: Subject, h: BlockOperator, scale: float) -> Iterator[Finding]:
    if USUAL[0] <= scale <= USUAL[1]:
        return
    factor = next((f for f in FACTORS if LIKELY[0] <= scale / f <= LIKELY[1]), None)
    on_site = ev_to_millihartree(float(np.abs(h.select(h.on_site).values).mean()))
    yield subject.finding(
        "error" if factor else "warning",
        CHECK,
        f"expected a mean |H_ii| of {USUAL[0]:g} to {USUAL[1]:g} eV, got {scale:.4g} eV (mean on-site |H| "
        f"{on_site:.4g} mE_h; usual are 10 to 100)",
        f"H is off by the factor {factor:.6g}: {FACTORS[factor]}."
        if factor
        else "H is of an unusual size; other units, a large shift of the zero of energy, or another matrix.",
        ADVICE,
    )


def _against_core(subject: Subject, lowest: float) -> Iterator[Finding]:
    """The deepest function is the 1s of the heaviest element, at about −Z²/2 E_h."""
    z = max(subject.calculation.structure.elements)
    hydrogen = -0.5 * z * z * HARTREE_IN_EV
    factor = next((f for f in FACTORS if CORE[0] <= lowest / f / hydrogen <= CORE[1]), None)
    if factor is not None:
        yield subject.finding(
            "error",
            CHECK,
            f"expected a lowest diagonal element of H near the 1s level of {symbol_of(z)}, about "
            f"{0.75 * hydrogen:.3g} eV, got {lowest:.4g} eV",
            f"H is off by the factor {factor:.6g}: {FACTORS[factor]}.",
            ADVICE,
        )


def _factor(ratio: float) -> float | None:
    return next((f for f in FACTORS if f / NEAR_FACTOR < ratio < f * NEAR_FACTOR), None)


def _only_valence(subject: Subject) -> bool:
    """Whether pseudopotentials (or the lightness of the elements) leave only valence electrons."""
    basis = subject.calculation.basis
    return all(
        0 <= basis.valence.get(z, z) < max(z, 1) or z <= 2 or z == 0 for z in subject.calculation.structure.elements
    )


def _all_electrons(subject: Subject) -> bool:
    """Whether the basis says of every element that all electrons are in it."""
    basis = subject.calculation.basis
    return all(basis.valence.get(z) == z for z in subject.calculation.structure.elements)


def _diagonal(operator: BlockOperator) -> np.ndarray:
    """(n,) all diagonal elements, of the atoms that are there."""
    on_site = operator.on_site
    parts = [
        np.einsum("pii->pi", operator.stack(pairs[on_site[pairs]])).reshape(-1)
        for (a, b), pairs in operator.element_pairs.items()
        if a == b and on_site[pairs].any()
    ]
    return np.concatenate(parts).astype(np.float64)


def _lowest_diagonal(subject: Subject, h: BlockOperator, diagonal: np.ndarray) -> float:
    """eV, min H_ii/S_ii: by Rayleigh and Ritz not below the lowest level."""
    s = subject.overlap
    if s is None or not np.array_equal(h.source[h.on_site], s.source[s.on_site]):
        return float(diagonal.min())
    return float((diagonal / np.maximum(_diagonal(s), 1e-6)).min())
