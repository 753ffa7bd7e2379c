"""Unit: a piece of work that is done once; a protocol is a list of them, and may share some with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nearsight.progress import Progress, StopToken

Work = Callable[[Progress, StopToken], None]


@dataclass(frozen=True)
class Unit:
    """A piece of work whose result is a file.

    Attributes
    ----------
    says : str
        What it is, for people.
    result : Path
        The file that is there, whole, when it is done.
    seconds : float
        How long it takes, roughly.
    work : callable
        Does it; returns without the file only where it was asked to stop.
    """

    says: str
    result: Path
    seconds: float
    work: Work

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.result.is_file()
