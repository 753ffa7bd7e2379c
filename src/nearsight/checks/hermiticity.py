"""Hermiticity: H_ij(R) = H_ji(−R)ᵀ, and the same of S and H₀."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.checks.finding import Finding
from nearsight.checks.subject import Subject
from nearsight.elements import symbol_of
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.symmetry import adjoint, with_reverses

CHECK = "hermiticity"
TOLERANCE = 1e-6
"""Largest |A − A†| over largest |A|: what single precision or text with seven digits leaves."""


def check_hermiticity(subject: Subject) -> Iterator[Finding]:
    """H, S and H₀."""
    calculation = subject.calculation
    named = (("H", calculation.hamiltonian), ("S", calculation.overlap), ("H₀", calculation.initial_hamiltonian))
    for name, operator in named:
        if operator is not None and operator.n_values:
            yield from _check(subject, name, operator)


def _check(subject: Subject, name: str, operator: BlockOperator) -> Iterator[Finding]:
    complete = with_reverses(operator)
    difference = np.abs(complete.values - adjoint(complete).values)
    largest = float(np.abs(complete.values).max())
    if difference.max() <= TOLERANCE * largest:
        return
    worst = int(np.searchsorted(complete.offsets, int(np.argmax(difference)), side="right") - 1)
    i, j = int(complete.source[worst]), int(complete.target[worst])
    missing = complete.n_pairs - operator.n_pairs
    yield subject.finding(
        "error", CHECK,
        f"expected {name}_ij(R) = {name}_ji(−R)ᵀ within {TOLERANCE:.0e} of the largest element, got a difference of "
        f"{float(difference.max()):.3g} (largest element {largest:.3g}), most between "
        f"{symbol_of(int(operator.numbers[i]))} (atom {i}) and {symbol_of(int(operator.numbers[j]))} (atom {j})",
        f"{missing} blocks are there without their transpose: only one triangle was stored." if missing else
        "Blocks (i, j) and (j, i) contradict each other: half of the matrix is transposed or in another order.",
        "Write both triangles, or import the code's own file.",
    )
