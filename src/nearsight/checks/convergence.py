"""Whether H is that of the self-consistent ground state."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.checks.finding import Finding
from nearsight.checks.subject import Subject

CHECK = "self-consistency"
SAME = 1e-5
"""max |H − H₀| over max |H| below which both are one matrix."""


def check_convergence(subject: Subject) -> Iterator[Finding]:
    """What the run says, and H against H₀."""
    said = subject.calculation.provenance.get("scf", "")
    if said.upper().startswith("NOT"):
        yield subject.finding(
            "error", CHECK, f"expected a converged self-consistent run, got {said!r}",
            "H is not that of the ground state; it differs from it by as much as the last step did.",
            "Run it again with more steps or another mixing.",
        )
    h, h0 = subject.hamiltonian, subject.calculation.initial_hamiltonian
    if h is None or h0 is None or h.folded != h0.folded or h.n_values == 0:
        return
    initial = h0.on_pairs(h.source, h.target, h.shift).values
    difference = float(np.abs(h.values - initial).max())
    if difference <= SAME * float(np.abs(h.values).max()):
        yield subject.finding(
            "error", CHECK, f"expected an H that self-consistency changed, got H = H₀ within {difference:.1e} eV",
            "H is the matrix of superposed atomic densities, before the first step.",
            "Import the matrix of the last step (CP2K: ADD_LAST NUMERIC and EACH QS_SCF 0).",
        )
