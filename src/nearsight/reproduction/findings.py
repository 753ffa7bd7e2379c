"""Findings: what follows from the rows of a result, said for the paper's numbers and for each network alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from nearsight.reproduction.measures import title_of
from nearsight.reproduction.networks import PAPER
from nearsight.reproduction.protocol import Finding
from nearsight.reproduction.result import Line

CLOSE = 0.15
"""By how much a share may differ from the paper's to be called the same."""
ROOM = 1.25
"""By which factor a spread may be larger than the paper's to be called the same."""


def sentence(finding: Finding, lines: Sequence[Line]) -> str:
    """Return a claim of the paper and what the numbers say of it.

    Parameters
    ----------
    finding : Finding
        Which claim, and how it is checked.
    lines : sequence of Line
        The lines of the result.
    """
    series = _series(finding, lines)
    theirs = series.pop(PAPER, [])
    said = [
        f"{name}: {_said(finding.kind, values)} ({_verdict(finding.kind, values, theirs)})"
        for name, values in series.items()
    ]
    if len(theirs) > 1:
        said.insert(0, f"paper: {_said(finding.kind, theirs)}")
    title = title_of(finding.measure).split(" /")[0]
    return f"{finding.claim} {title} {'; '.join(said) or 'of one row tells nothing'}."


def _series(finding: Finding, lines: Sequence[Line]) -> dict[str, list[float]]:
    """Values in the order of the rows, of everybody who has more than one."""
    found: dict[str, list[float]] = {}
    for line in sorted(lines, key=lambda line: line.row):
        value = line.values.get(finding.measure)
        if value is not None and (not finding.rows or line.row in finding.rows):
            found.setdefault(line.who, []).append(value)
    return {who: values for who, values in found.items() if len(values) > 1}


def _said(kind: str, values: Sequence[float]) -> str:
    if kind == "reduction":
        share = 1 - values[-1] / values[0]
        return f"{'−' if share >= 0 else '+'}{100 * abs(share):.0f} %"
    if kind == "spread":
        return f"largest {max(values) / min(values):.2f} times the smallest"
    return " → ".join(f"{value:.3g}" for value in values)


def _verdict(kind: str, ours: Sequence[float], theirs: Sequence[float]) -> str:
    if kind == "trend":
        return "falls throughout" if all(b < a for a, b in itertools.pairwise(ours)) else "does not fall throughout"
    if len(theirs) < 2:
        return "nothing to compare with"
    if kind == "reduction":
        mine, paper = (1 - values[-1] / values[0] for values in (ours, theirs))
        return (
            "agrees"
            if abs(mine - paper) <= CLOSE
            else ("less than in the paper" if mine < paper else "more than in the paper")
        )
    mine, paper = (max(values) / min(values) for values in (ours, theirs))
    return "agrees" if mine <= ROOM * paper else "more than in the paper"
