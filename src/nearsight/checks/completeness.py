"""Completeness: how much of H and S lies beyond a radius, and what cutting H there does to levels near the gap.

These are the paper's Figs. 8 and 9.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.checks.subject import Finding, Subject, levels_of
from nearsight.electronic.matrix_errors import pair_distances
from nearsight.electronic.spectrum_errors import GAP_WINDOW
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator

CHECK = "completeness"
RADII = (4.0, 6.0, 8.0, 10.0, 12.0)
"""Radii (Å) for which shares are told."""
SHARE = 0.01
"""Share of Σ|H| beyond the cutoff from which on there is a warning."""
LARGE_WITHOUT_OVERLAP = 0.5
"""Element of H (eV) that atoms whose functions do not overlap have not: real ones are below 1e-3."""
LARGE_OVERLAP = 1e-3
"""Overlap of atoms between which H is not zero."""
CHANGE = 0.05
"""Mean shift (eV) of levels near the gap by a cutoff from which on there is a warning."""


def check_completeness(subject: Subject) -> Iterator[Finding]:
    """Find shares of H and S beyond each radius and, unless quick, the change of levels with H cut there."""
    h = subject.hamiltonian
    if h is None or h.n_values == 0:
        return
    kept = subject.calculation.cutoff
    if kept is not None and kept < subject.cutoff:
        yield subject.finding(
            "warning",
            CHECK,
            f"expected blocks up to the network's cutoff of {subject.cutoff:g} Å, got none beyond {kept:g} Å",
            "Zeros would be learnt where H was cut.",
            f"Train with a cutoff of {kept:g} Å, or import H whole.",
        )
    yield from _without_overlap(subject, h)
    yield from _without_hamiltonian(subject, h)
    radii = sorted({*RADII, subject.cutoff})
    usable = [r for r in radii if not h.folded or r <= subject.unfolded_radius]
    if usable:
        yield from _shares(subject, usable)
    if len(usable) < len(radii):
        yield subject.finding(
            "note",
            CHECK,
            f"not checked beyond {subject.unfolded_radius:.2f} Å (half of the cell): images fold into one block there",
            "A block beyond this is a sum over images, which no radius separates.",
            "Check the reach of H in a larger cell or with real-space data.",
        )


def _without_overlap(subject: Subject, h: BlockOperator) -> Iterator[Finding]:
    """Count blocks of H for which S has none."""
    s = subject.overlap
    if s is None or s.folded != h.folded or s.on_site.all():  # an orthonormal basis
        return
    sizes = np.add.reduceat(np.abs(h.values), h.offsets[:-1], dtype=np.float64)
    alone = (s.find(h.source, h.target, h.shift) < 0) & (sizes > 0)
    if alone.any():
        largest, share = float(np.abs(h.select(alone).values).max()), 100 * sizes[alone].sum() / sizes.sum()
        found = (
            f"H has {int(alone.sum())} blocks where S has none, {share:.3g} % of Σ|H|, elements up to {largest:.3g} eV"
        )
        if largest > LARGE_WITHOUT_OVERLAP:
            yield subject.finding(
                "error",
                CHECK,
                f"expected elements below {LARGE_WITHOUT_OVERLAP:g} eV between atoms that do not overlap; {found}",
                "Blocks of S are missing, as where it was cut off, or S is of another structure.",
                "Import S again, with all cell vectors.",
            )
            return
        yield subject.finding(
            "note",
            CHECK,
            found,
            "Projectors of pseudopotentials couple atoms whose functions do not overlap. Other programs drop these "
            "blocks where they take their list of pairs from S.",
            "Nothing; they are kept, and learnt within the cutoff.",
        )


def _without_hamiltonian(subject: Subject, h: BlockOperator) -> Iterator[Finding]:
    """Find blocks of S, as far as H was kept, for which H has none: cell vectors that are missing."""
    s = subject.overlap
    if s is None or s.folded != h.folded or s.n_values == 0:
        return
    kept = subject.calculation.cutoff
    sizes = np.maximum.reduceat(np.abs(s.values), s.offsets[:-1])
    missing = (h.find(s.source, s.target, s.shift) < 0) & (sizes > LARGE_OVERLAP)
    if kept is not None:
        missing &= pair_distances(s, subject.calculation.structure) <= kept
    if missing.any():
        cells = np.unique(s.shift[missing], axis=0)
        yield subject.finding(
            "error",
            CHECK,
            f"expected blocks of H wherever atoms overlap, got none for {int(missing.sum())} blocks of S with elements "
            f"up to {sizes[missing].max():.3g}, in {len(cells)} cells such as R = {tuple(cells[0].tolist())}",
            "H is not complete: cell vectors or pairs of atoms are missing.",
            "Import H again, with all cell vectors.",
        )


def _shares(subject: Subject, radii: list[float]) -> Iterator[Finding]:
    of_h = shares_beyond(subject.calculation.require_hamiltonian(), subject.hamiltonian_distances, radii)
    s = subject.overlap
    of_s = (
        [float("nan")] * len(radii)
        if s is None
        else shares_beyond(s, pair_distances(s, subject.calculation.structure), radii)
    )
    changes = [_change(subject, r) for r in radii]
    rows = []
    for r, a, b, change in zip(radii, of_h, of_s, changes):
        levels = "" if change is None else f", levels near the gap move by {1e3 * change:.3g} meV"
        rows.append(f"{r:g} Å: {100 * a:.3g} % of Σ|H|{'' if s is None else f', {100 * b:.3g} % of Σ|S|'}{levels}")
    lost, moved = (x[radii.index(subject.cutoff)] if subject.cutoff in radii else None for x in (of_h, changes))
    bad = (lost is not None and lost > SHARE) or (moved is not None and moved > CHANGE)
    wanted = f"expected little beyond the cutoff of {subject.cutoff:g} Å, got " if bad else ""
    yield subject.finding(
        "warning" if bad else "note",
        CHECK,
        f"{wanted}beyond " + "; ".join(rows),
        "A network with this cutoff cannot have what lies beyond it."
        if bad
        else "A network with a cutoff cannot have what lies beyond it; this is the least error of its levels.",
        "Use a larger cutoff." if bad else "Nothing; choose the cutoff by it.",
    )


def shares_beyond(operator: BlockOperator, distances: np.ndarray, radii: list[float]) -> list[float]:
    """Compute the share of Σ|O| in blocks of pairs farther apart than each radius.

    Parameters
    ----------
    operator : BlockOperator
        O, with P pairs.
    distances : ndarray of shape (P,)
        Of its pairs, in Å.
    radii : list of float
        In Å.

    Returns
    -------
    list of float
        0 to 1, one for each radius.
    """
    if operator.n_values == 0:
        return [0.0] * len(radii)
    sizes = np.add.reduceat(np.abs(operator.values), operator.offsets[:-1], dtype=np.float64)
    return [float(sizes[distances > r].sum() / sizes.sum()) for r in radii]


def _change(subject: Subject, radius: float) -> float | None:
    """Mean |change| of the levels near the gap when H is cut at the radius (S is not), eV; None where not to be had."""
    exact, s, electrons = subject.levels, subject.dense_overlap, subject.n_electrons
    if exact is None or s is None or not electrons:
        return None
    h = subject.calculation.require_hamiltonian()
    keep = subject.hamiltonian_distances <= radius
    if keep.all():
        return 0.0
    dense = to_csr(h.select(keep)).toarray().astype(np.float64)
    cut = levels_of((dense + dense.T) / 2, s)
    if cut is None:
        return None
    homo, lumo = exact[(electrons + 1) // 2 - 1], exact[min(electrons // 2, len(exact) - 1)]
    near = (exact >= homo - GAP_WINDOW) & (exact <= lumo + GAP_WINDOW)
    return float(np.abs(cut - exact)[near].mean())
