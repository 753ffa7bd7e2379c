"""Eigenvalues: H ψ = ε S ψ at Γ against what the DFT code printed, the Fermi level against the levels that the
electrons fill, and whether H is that of the self-consistent ground state.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import LinAlgError, eigvalsh, lapack

from nearsight.checks.subject import DENSE_ORBITALS, Finding, Subject
from nearsight.operators.bloch import bloch
from nearsight.units import HARTREE_IN_EV

CHECK = "eigenvalues"
TOLERANCE = 1e-4 * HARTREE_IN_EV
"""Largest difference (eV) to a printed level. Printed with six digits and matrices in single precision agree to a tenth
of it.
"""
RATIOS = {
    HARTREE_IN_EV: "27.2114: eV and Hartree were confused",
    1 / HARTREE_IN_EV: "1/27.2114: eV and Hartree were confused",
    HARTREE_IN_EV / 2: "13.6057: eV and Rydberg were confused",
    2 / HARTREE_IN_EV: "1/13.6057: eV and Rydberg were confused",
    0.5: "1/2: Hartree and Rydberg were confused, or only half of H is there",
    2.0: "2: Hartree and Rydberg were confused, or H was doubled",
}
"""Ratios of our levels to the printed ones, and what was confused."""
NEAR_RATIO = 0.02
"""Relative deviation within which a ratio is one of `RATIOS`."""
PLACES = (0.2, 0.5, 0.8, 0.95)
"""In quick mode: where in the list of printed levels they are counted."""
AROUND = 10
"""Number of levels on both sides of such a place; the widest gap between them is taken."""
WIDE = 4 * TOLERANCE
"""Width (eV) of the narrowest gap that is counted in."""
ADVICE = (
    "Check that H and S are those of the last step of the run that printed the eigenvalues, in the same order "
    "of atoms and orbitals."
)


def check_eigenvalues(subject: Subject) -> Iterator[Finding]:
    """Compare all printed levels; in quick mode count the levels below some of them (Sylvester's law of inertia)."""
    printed = subject.calculation.eigenvalues
    if subject.hamiltonian is None or subject.overlap is None:
        return
    if printed is None and subject.calculation.k_eigenvalues is not None and not subject.quick:
        yield from _compared_at_k(subject)
        return
    if printed is None or len(printed) == 0:
        yield subject.finding(
            "note",
            CHECK,
            "not checked: no eigenvalues of the code in the file",
            "They are the surest sign that H and S are what the code had.",
            "Let the code print them (CP2K: &PRINT &MO, EIGENVALUES T) and import its output too.",
        )
        return
    if len(printed) > subject.n_orbitals:
        yield subject.finding(
            "error",
            CHECK,
            f"expected at most {subject.n_orbitals} eigenvalues, one for each orbital, got {len(printed)}",
            "The output is of another run, or of several k-points.",
            ADVICE,
        )
        return
    if subject.dense_hamiltonian is None:
        yield subject.finding(
            "note",
            CHECK,
            f"not checked: {subject.n_orbitals} orbitals are too many to diagonalise here",
            "The eigenvalues were not compared with the printed ones.",
            "Check a smaller structure of this source.",
        )
        return
    yield from _counted(subject, printed) if subject.quick else _compared(subject, printed)


def _compared(subject: Subject, printed: np.ndarray) -> Iterator[Finding]:
    levels = subject.levels
    if levels is None:  # S is not positive definite, which is a finding of its own
        return
    ours = levels[: len(printed)]
    difference = ours - printed
    worst = float(np.abs(difference).max())
    if worst > TOLERANCE:
        yield subject.finding(
            "error",
            CHECK,
            f"expected the printed eigenvalues within {TOLERANCE:.2g} eV, got differences up to {worst:.4g} eV (mean "
            f"{float(difference.mean()):+.4g} eV)",
            _likely_cause(ours, printed),
            ADVICE,
        )


def _compared_at_k(subject: Subject) -> Iterator[Finding]:
    """At the first and the last k-point that the code printed."""
    c = subject.calculation
    assert c.k_points is not None
    assert c.k_eigenvalues is not None
    if subject.n_orbitals > DENSE_ORBITALS or (c.require_hamiltonian().folded and c.k_points.any()):
        yield subject.finding(
            "note",
            CHECK,
            "not checked at the code's k-points: too many orbitals, or a matrix summed at Γ",
            "The eigenvalues were not compared with the printed ones.",
            "Check a smaller structure of this source.",
        )
        return
    for k in {0, len(c.k_points) - 1}:
        h, s = (bloch(op, c.k_points[k]).toarray() for op in (c.require_hamiltonian(), c.require_overlap()))
        try:
            ours = eigvalsh(h, s)[: c.k_eigenvalues.shape[1]]
        except LinAlgError:  # S is not positive definite, which is a finding of its own
            return
        worst = float(np.abs(ours - c.k_eigenvalues[k]).max())
        if worst > TOLERANCE:
            yield subject.finding(
                "error",
                CHECK,
                f"expected the eigenvalues printed at k = {c.k_points[k].tolist()} within {TOLERANCE:.2g} eV, got "
                f"differences up to {worst:.4g} eV",
                _likely_cause(ours, c.k_eigenvalues[k]),
                ADVICE,
            )
            return


def _likely_cause(ours: np.ndarray, printed: np.ndarray) -> str:
    difference = ours - printed
    if float(np.ptp(difference)) < 2 * TOLERANCE:
        return (
            f"All levels are shifted by {float(difference.mean()):+.6g} eV: another zero of energy; H differs "
            "from the code's by a multiple of S."
        )
    ratio = float(ours @ printed / (printed @ printed))
    for factor, text in RATIOS.items():
        proportional = np.allclose(ours, ratio * printed, rtol=1e-3, atol=TOLERANCE * ratio)
        if abs(ratio / factor - 1) < NEAR_RATIO and proportional:
            return f"All levels are multiplied by {text}."
    return (
        "Neither a shift nor a factor: H is not that of the converged run (an earlier step, or superposed atomic "
        "densities), or H and S are in different orders or of different runs."
    )


def _counted(subject: Subject, printed: np.ndarray) -> Iterator[Finding]:
    h, s = subject.dense_hamiltonian, subject.dense_overlap
    assert h is not None
    assert s is not None
    widths = np.diff(printed)
    for k in _places(widths):
        if widths[k] < WIDE:
            continue
        energy = float(printed[k] + printed[k + 1]) / 2
        found = levels_below(h - energy * s)
        if found != k + 1:
            yield subject.finding(
                "error",
                CHECK,
                f"expected {k + 1} levels below {energy:.4g} eV, where the printed eigenvalues have a gap of "
                f"{float(widths[k]):.3g} eV, got {found}",
                "H and S do not have the printed eigenvalues: H is not that of the converged run, or in other units, "
                "or in another order than S.",
                ADVICE + " Without --quick the differences are shown.",
            )
            return


def _places(widths: np.ndarray) -> list[int]:
    """Positions of gaps to count in, ascending."""
    result = set()
    for share in PLACES:
        middle = int(share * len(widths))
        first = max(0, middle - AROUND)
        some = widths[first : middle + AROUND + 1]
        if len(some):
            result.add(first + int(np.argmax(some)))
    return sorted(result)


def levels_below(shifted: np.ndarray) -> int:
    """Count the negative eigenvalues of a symmetric matrix from its factors L D Lᵀ.

    With H − E S this is the number of levels below E, for any positive definite S (Sylvester). It takes a fifth of the
    time of a diagonalisation.

    Parameters
    ----------
    shifted : ndarray of shape (n, n)
        The matrix; its lower triangle counts.

    Returns
    -------
    int
        Number of negative eigenvalues.
    """
    work = int(lapack.dsytrf_lwork(len(shifted), lower=1)[0])
    factors, pivots, _ = lapack.dsytrf(shifted, lower=1, lwork=work)
    double = pivots < 0  # two rows of a 2 × 2 block, which has one negative eigenvalue
    return int((np.diagonal(factors)[~double] < 0).sum()) + int(double.sum()) // 2


FERMI = "Fermi level"
ROUNDING = 5e-3
"""Rounding (eV) of printed energies."""
METAL = 0.2
"""Gap (eV) below which levels are filled with smearing."""
SMEARED = 0.5
"""Energy (eV) by which a metal's Fermi level may leave the gap: a few kT at the electronic temperatures in use (up to
1500 K).
"""


def check_fermi(subject: Subject) -> Iterator[Finding]:
    """Check HOMO ≤ E_F ≤ LUMO, as counted from the valence electrons and the charge."""
    fermi = subject.calculation.fermi
    if fermi is None:
        return
    edges = _edges(subject)
    if edges is None:
        outside = _outside(subject, fermi)
        if outside:
            yield outside
            return
        why = (
            "the valence of an element is not known"
            if subject.n_electrons is None
            else "HOMO and LUMO are not among the levels at hand"
        )
        yield subject.finding(
            "note",
            FERMI,
            f"not checked: {why}",
            "Levels cannot be filled.",
            "Nothing, where the Fermi level is not used.",
        )
        return
    homo, lumo = edges
    slack = SMEARED if lumo - homo < METAL else ROUNDING
    if homo - slack <= fermi <= lumo + slack:
        return
    yield subject.finding(
        "error",
        FERMI,
        f"expected a Fermi level between HOMO and LUMO, {homo:.4f} to {lumo:.4f} eV, got {fermi:.4f} eV",
        _cause(fermi, homo - slack, lumo + slack),
        "Compare with the output; where only H or only the Fermi level was shifted, shift both.",
    )


def _outside(subject: Subject, fermi: float) -> Finding | None:
    """Whatever the number of electrons: the Fermi level is among the levels."""
    levels = subject.levels
    if levels is None or levels[0] - SMEARED <= fermi <= levels[-1] + SMEARED:
        return None
    return subject.finding(
        "error",
        FERMI,
        f"expected a Fermi level among the levels at Γ, {levels[0]:.4f} to {levels[-1]:.4f} eV, got {fermi:.4f} eV",
        _cause(fermi, float(levels[0]), float(levels[-1])),
        "Compare with the output, and check the units of H.",
    )


def _edges(subject: Subject) -> tuple[float, float] | None:
    """HOMO and LUMO, eV, from printed levels, those of the whole mesh where there is one, or else our own."""
    electrons = subject.n_electrons
    if electrons is None or electrons == 0:
        return None
    of_mesh = subject.calculation.k_eigenvalues
    if of_mesh is not None and len(of_mesh) > 1:  # those at Γ alone need not be about the Fermi level
        every, filled = np.sort(of_mesh, axis=None), electrons * len(of_mesh)
        if len(every) > filled // 2:
            return float(every[(filled + 1) // 2 - 1]), float(every[filled // 2])
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
    return "It is in another zero of energy than H, of another run, or the charge in the file is not the run's."


CONVERGENCE = "self-consistency"
SAME = 1e-5
"""Largest max |H − H₀| over max |H| with which both are one matrix."""


def check_convergence(subject: Subject) -> Iterator[Finding]:
    """Check what the run says of its convergence, and H against H₀."""
    said = subject.calculation.provenance.get("scf", "")
    if said.upper().startswith("NOT"):
        yield subject.finding(
            "error",
            CONVERGENCE,
            f"expected a converged self-consistent run, got {said!r}",
            "H is not that of the ground state; it differs from it by as much as the last step did.",
            "Run it again with more steps or another mixing.",
        )
    h, h0 = subject.hamiltonian, subject.calculation.h0
    if h is None or h0 is None or h.folded != h0.folded or h.n_values == 0:
        return
    initial = h0.on_pairs(h.source, h.target, h.shift).values
    difference = float(np.abs(h.values - initial).max())
    if difference <= SAME * float(np.abs(h.values).max()):
        yield subject.finding(
            "error",
            CONVERGENCE,
            f"expected an H that self-consistency changed, got H = H₀ within {difference:.1e} eV",
            "H is the matrix of superposed atomic densities, before the first step.",
            "Import the matrix of the last step (CP2K: ADD_LAST NUMERIC and EACH QS_SCF 0).",
        )
