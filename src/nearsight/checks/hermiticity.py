"""Hermiticity: H_ij(R) = H_ji(−R)ᵀ, also of S and H₀; and transposed blocks of H.

Off the diagonal H is roughly S times a number (Wolfsberg–Helmholz), block by block. Every pair of atoms votes: does its
block of H resemble that of S more as it stands, or transposed, or taken at −R?
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nearsight.checks.subject import Finding, Subject
from nearsight.electronic.matrix_errors import pair_distances
from nearsight.elements import symbol_of
from nearsight.operators.blocks import BlockOperator, ElementPair
from nearsight.operators.symmetry import adjoint, with_reverses

CHECK = "hermiticity"
TOLERANCE = 1e-6
"""Largest |A − A†| over largest |A|: what single precision or text with seven digits leaves."""


def check_hermiticity(subject: Subject) -> Iterator[Finding]:
    """Check that H, S and H₀ are Hermitian."""
    calculation = subject.calculation
    named = (("H", calculation.hamiltonian), ("S", calculation.overlap), ("H₀", calculation.h0))
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
        "error",
        CHECK,
        f"expected {name}_ij(R) = {name}_ji(−R)ᵀ within {TOLERANCE:.0e} of the largest element, got a difference of "
        f"{float(difference.max()):.3g} (largest element {largest:.3g}), most between "
        f"{symbol_of(int(operator.numbers[i]))} (atom {i}) and {symbol_of(int(operator.numbers[j]))} (atom {j})",
        f"{missing} blocks are there without their transpose: only one triangle was stored."
        if missing
        else "Blocks (i, j) and (j, i) contradict each other: half of the matrix is transposed or in another order.",
        "Write both triangles, or import the code's own file.",
    )


TRANSPOSITION = "transposition"
NEAR = 4.0
"""Distance (Å) below which pairs vote."""
MOST_PAIRS = 4000
"""Number of pairs of two elements that vote."""
FEWEST = 4
"""Number of votes from which on they count."""
SHARE = 0.25
"""Share of the pairs that resemble S better otherwise from which on H is transposed. In good data it is below 0.02."""
TOLD_APART = 0.1
"""Difference of its two resemblances from which on a pair votes (they go from −1 to 1)."""
ALIKE = 0.4
"""Resemblance below which a block resembles nothing. In good data nearly all are above 0.6."""
UNLIKE = 0.25
"""Mean resemblance below which H and S are hardly of the same orbitals; 0.58 is the lowest seen in good data."""
KINDS = 8
"""Number of different distances from which on the mean says something: a crystal has the same few blocks again and
again, whatever they resemble (silicon in DZVP: 0.02).
"""

CAUSES = {
    "transposed": "blocks of H are transposed: written column by column and read row by row, or those of (j, i) taken "
    "for those of (i, j)",
    "exchanged": "R and −R are exchanged in H",
}
"""What was confused, in words, for each kind of confusion."""


@dataclass(frozen=True, eq=False)
class Votes:
    """How much the blocks of p pairs of H resemble those of S, −1 … 1.

    Attributes
    ----------
    as_it_stands : ndarray of shape (p,)
        Resemblance of the blocks as they are.
    otherwise : ndarray of shape (p,)
        Resemblance of the blocks transposed, or at −R.
    """

    as_it_stands: np.ndarray
    otherwise: np.ndarray


def check_transposition(subject: Subject) -> Iterator[Finding]:
    """Find whether blocks of H are transposed, by those of S."""
    h, s = subject.hamiltonian, subject.overlap
    if h is None or s is None or h.folded != s.folded:
        return
    distance = pair_distances(s, subject.calculation.structure)
    near = (distance < NEAR) & ~s.on_site
    kinds = len(np.unique(np.round(distance[near], 2)))
    for cause, text in CAUSES.items():
        if cause == "exchanged" and h.folded:
            continue
        votes = [_votes(h, s, pairs[near[pairs]], elements, cause) for elements, pairs in s.element_pairs.items()]
        found = list(_finding(subject, votes, text, kinds))
        if found:
            yield from found
            return


def _finding(subject: Subject, votes: list[Votes], cause: str, kinds: int) -> Iterator[Finding]:
    here = np.concatenate([v.as_it_stands for v in votes])
    there = np.concatenate([v.otherwise for v in votes])
    sums = np.array([here.sum(), there.sum()])
    sign = np.sign(sums[np.argmax(np.abs(sums))])  # H is S times a negative number; positive where the zero is low
    apart = np.abs(here - there) > TOLD_APART
    if apart.sum() < FEWEST:
        return
    share = float(((sign * (there - here) > 0) & (sign * there > ALIKE))[apart].mean())
    if share > SHARE:
        yield subject.finding(
            "error",
            TRANSPOSITION,
            f"expected blocks of H that resemble those of S, got {100 * share:.0f} % of the near pairs whose blocks "
            "do so only otherwise",
            f"Most likely {cause}.",
            "Check the layout of the source (rows and columns, sign of R) and import again; eigenvalues then agree "
            "with the code's.",
        )
    elif kinds >= KINDS and float((sign * here).mean()) < UNLIKE:
        yield subject.finding(
            "warning",
            TRANSPOSITION,
            "expected blocks of H that resemble those of S, got a mean resemblance of "
            f"{float((sign * here).mean()):.2f} (1: proportional, 0: nothing in common)",
            "H and S are hardly of the same orbitals: atoms or orbitals are in another order in one of them.",
            "Check that both matrices are of the same run, and compare the eigenvalues with the code's.",
        )


def _votes(h: BlockOperator, s: BlockOperator, pairs: np.ndarray, elements: ElementPair, cause: str) -> Votes:
    pairs = pairs[:: len(pairs) // MOST_PAIRS + 1]
    if len(pairs) == 0:
        return Votes(np.zeros(0), np.zeros(0))
    overlap = s.stack(pairs).astype(np.float64)
    source, target, shift = s.source[pairs], s.target[pairs], s.shift[pairs]
    blocks = h.blocks(elements, source, target, shift).astype(np.float64)
    if cause == "exchanged":
        possible = [h.blocks(elements, source, target, -shift).astype(np.float64)]
    else:  # two, for rows and columns may have been confused in writing or in reading
        possible = [
            blocks.reshape(len(blocks), blocks.shape[2], blocks.shape[1]).transpose(0, 2, 1),
            blocks.transpose(0, 2, 1).reshape(blocks.shape),
        ]
    others = [_resemblance(overlap, other, h, elements) for other in possible]
    return Votes(_resemblance(overlap, blocks, h, elements), max(others, key=lambda x: float(np.abs(x).sum())))


def _resemblance(overlap: np.ndarray, blocks: np.ndarray, h: BlockOperator, elements: ElementPair) -> np.ndarray:
    """(p,) cosine of the angle between both, every pair of shells scaled to count alike."""
    a, b = (_scaled(x, h, elements) for x in (overlap, blocks))
    norms = np.linalg.norm(a, axis=(1, 2)) * np.linalg.norm(b, axis=(1, 2))
    return np.asarray((a * b).sum(axis=(1, 2)) / np.where(norms > 0, norms, 1.0))


def _scaled(blocks: np.ndarray, h: BlockOperator, elements: ElementPair) -> np.ndarray:
    result = np.empty_like(blocks)
    rows, columns = (_shell_slices(h, z) for z in elements)
    for r in rows:
        for c in columns:
            part = blocks[:, r, c]
            size = float(np.sqrt((part**2).sum(axis=(1, 2)).mean()))
            result[:, r, c] = part / size if size > 0 else 0.0
    return result


def _shell_slices(h: BlockOperator, number: int) -> list[slice]:
    starts = h.basis.shell_offsets(number)
    return [slice(start, start + 2 * l + 1) for l, start in zip(h.basis.shells[number], starts)]
