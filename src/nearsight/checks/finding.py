"""Finding: one thing that a check noticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""Worst first."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check noticed.

    Attributes:
        level: `error`: a model trained on this is wrong; `warning`: it may be worse than it could be; `note`: good to
            know, such as what could not be checked.
        check: name of the check.
        file: where, as the user named it; several are separated by commas.
        message: expected … got ….
        meaning: what follows from it.
        advice: what to do.
    """

    level: Level
    check: str
    file: str
    message: str
    meaning: str
    advice: str


def sorted_by_level(findings: list[Finding]) -> list[Finding]:
    """Worst first; otherwise as they came."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))
