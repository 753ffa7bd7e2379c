"""Eigenvalues of H ψ = ε S ψ at Γ against those that the DFT code printed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import LinAlgError, eigvalsh, lapack

from nearsight.checks.finding import Finding
from nearsight.checks.subject import DENSE_ORBITALS, Subject
from nearsight.operators.bloch import bloch
from nearsight.units import HARTREE_IN_EV

CHECK = "eigenvalues"
TOLERANCE = 1e-4 * HARTREE_IN_EV
"""eV. Printed with six digits and matrices in single precision agree to a tenth of it."""
RATIOS = {
    HARTREE_IN_EV: "27.2114: eV and Hartree were confused",
    1 / HARTREE_IN_EV: "1/27.2114: eV and Hartree were confused",
    HARTREE_IN_EV / 2: "13.6057: eV and Rydberg were confused",
    2 / HARTREE_IN_EV: "1/13.6057: eV and Rydberg were confused",
    0.5: "1/2: Hartree and Rydberg were confused, or only half of H is there",
    2.0: "2: Hartree and Rydberg were confused, or H was doubled",
}
NEAR_RATIO = 0.02
PLACES = (0.2, 0.5, 0.8, 0.95)
"""In quick mode: where in the list of printed levels they are counted."""
AROUND = 10
"""Levels on both sides of such a place; the widest gap between them is taken."""
WIDE = 4 * TOLERANCE
"""eV: a narrower gap is no place to count."""
ADVICE = ("Check that H and S are those of the last step of the run that printed the eigenvalues, in the same order "
          "of atoms and orbitals.")


def check_eigenvalues(subject: Subject) -> Iterator[Finding]:
    """All printed levels; in quick mode the number of levels below some of them (Sylvester's law of inertia)."""
    printed = subject.calculation.eigenvalues
    if subject.hamiltonian is None or subject.overlap is None:
        return
    if printed is None and subject.calculation.k_eigenvalues is not None and not subject.quick:
        yield from _compared_at_k(subject)
        return
    if printed is None or len(printed) == 0:
        yield subject.finding(
            "note", CHECK, "not checked: no eigenvalues of the code in the file",
            "They are the surest sign that H and S are what the code had.",
            "Let the code print them (CP2K: &PRINT &MO, EIGENVALUES T) and import its output too.",
        )
        return
    if len(printed) > subject.n_orbitals:
        yield subject.finding(
            "error", CHECK,
            f"expected at most {subject.n_orbitals} eigenvalues, one for each orbital, got {len(printed)}",
            "The output is of another run, or of several k-points.", ADVICE,
        )
        return
    if subject.dense_hamiltonian is None:
        yield subject.finding(
            "note", CHECK, f"not checked: {subject.n_orbitals} orbitals are too many to diagonalise here",
            "The eigenvalues were not compared with the printed ones.", "Check a smaller structure of this source.",
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
            "error", CHECK,
            f"expected the printed eigenvalues within {TOLERANCE:.2g} eV, got differences up to {worst:.4g} eV (mean "
            f"{float(difference.mean()):+.4g} eV)",
            _likely_cause(ours, printed), ADVICE,
        )


def _compared_at_k(subject: Subject) -> Iterator[Finding]:
    """At the first and the last k-point that the code printed."""
    c = subject.calculation
    assert c.k_points is not None
    assert c.k_eigenvalues is not None
    if subject.n_orbitals > DENSE_ORBITALS or c.require_hamiltonian().folded:
        yield subject.finding(
            "note", CHECK, "not checked at the code's k-points: too many orbitals, or a matrix summed at Γ",
            "The eigenvalues were not compared with the printed ones.", "Check a smaller structure of this source.",
        )
        return
    for k in {0, len(c.k_points) - 1}:
        h, s = (bloch(op, c.k_points[k]).toarray() for op in (c.require_hamiltonian(), c.require_overlap()))
        try:
            ours = eigvalsh(h, s)[:c.k_eigenvalues.shape[1]]
        except LinAlgError:  # S is not positive definite, which is a finding of its own
            return
        worst = float(np.abs(ours - c.k_eigenvalues[k]).max())
        if worst > TOLERANCE:
            yield subject.finding(
                "error", CHECK,
                f"expected the eigenvalues printed at k = {c.k_points[k].tolist()} within {TOLERANCE:.2g} eV, got "
                f"differences up to {worst:.4g} eV", _likely_cause(ours, c.k_eigenvalues[k]), ADVICE,
            )
            return


def _likely_cause(ours: np.ndarray, printed: np.ndarray) -> str:
    difference = ours - printed
    if float(np.ptp(difference)) < 2 * TOLERANCE:
        return (f"All levels are shifted by {float(difference.mean()):+.6g} eV: another zero of energy; H differs "
                "from the code's by a multiple of S.")
    ratio = float(ours @ printed / (printed @ printed))
    for factor, text in RATIOS.items():
        proportional = np.allclose(ours, ratio * printed, rtol=1e-3, atol=TOLERANCE * ratio)
        if abs(ratio / factor - 1) < NEAR_RATIO and proportional:
            return f"All levels are multiplied by {text}."
    return ("Neither a shift nor a factor: H is not that of the converged run (an earlier step, or superposed atomic "
            "densities), or H and S are in different orders or of different runs.")


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
                "error", CHECK,
                f"expected {k + 1} levels below {energy:.4g} eV, where the printed eigenvalues have a gap of "
                f"{float(widths[k]):.3g} eV, got {found}",
                "H and S do not have the printed eigenvalues: H is not that of the converged run, or in other units, "
                "or in another order than S.", ADVICE + " Without --quick the differences are shown.",
            )
            return


def _places(widths: np.ndarray) -> list[int]:
    """Positions of gaps to count in, ascending."""
    result = set()
    for share in PLACES:
        middle = int(share * len(widths))
        first = max(0, middle - AROUND)
        some = widths[first:middle + AROUND + 1]
        if len(some):
            result.add(first + int(np.argmax(some)))
    return sorted(result)


def levels_below(shifted: np.ndarray) -> int:
    """Negative eigenvalues of a symmetric matrix, from its factors L D Lᵀ (a fifth of the time of a diagonalisation).

    With H − E S this is the number of levels below E, for any positive definite S (Sylvester).
    """
    work = int(lapack.dsytrf_lwork(len(shifted), lower=1)[0])
    factors, pivots, _ = lapack.dsytrf(shifted, lower=1, lwork=work)
    double = pivots < 0  # two rows of a 2 × 2 block, which has one negative eigenvalue
    return int((np.diagonal(factors)[~double] < 0).sum()) + int(double.sum()) // 2
