"""Points of a sweep that several processes of one launch compute together, by files in a folder that all of them see.

Each process solves its share and writes it beside the file (`points.3.h5` of process 3). The first one waits for the
shares, and puts them into the file itself; the others wait for that file. Nothing else passes between them, so they may
be on any machines, and a run that was killed goes on with any number of processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from glob import escape
from typing import TypeVar

import numpy as np

from nearsight.launch import Launch, LostProcessError
from nearsight.quantum_transport.energy_point import EnergyPoint
from nearsight.quantum_transport.points_file import PointsFile

T = TypeVar("T")
Points = dict[tuple[int, float], EnergyPoint]

GLANCE = 0.1
"""Seconds between two looks at files of the others."""
PATIENCE = 7200.0
"""Seconds in which no file of the others changed after which they are believed to be lost."""


@dataclass(eq=False)
class SharedPoints:
    """The points of a sweep, in files.

    Attributes
    ----------
    file : PointsFile
        The file that holds all of them in the end.
    launch : Launch
        Which process this is, and of how many.
    """

    file: PointsFile
    launch: Launch = field(default_factory=Launch)
    _start: np.ndarray | None = field(default=None, init=False)

    @property
    def own(self) -> PointsFile:
        """The file that this process writes."""
        return self.file if self.launch.rank == 0 else self._share(self.launch.rank)

    def is_mine(self, number: int) -> bool:
        """Whether the task with this number in a round is this process's."""
        return number % self.launch.count == self.launch.rank

    def read(self) -> Points:
        """Return the points that are there when a process begins: of the file, and of shares that were left over.

        Raises
        ------
        FormatError
            If a file is another one, or of another junction or other settings.
        """
        points = self.file.read()
        for share in self._shares() if self.launch.rank == 0 else [self.own]:
            points.update(share.read())
        return points

    def write(self, points: Mapping[tuple[int, float], EnergyPoint]) -> None:
        """Write what this process knows; the first one writes the file."""
        self.own.write(points, self._start)

    def start(self, compute: Callable[[], np.ndarray], wait: Callable[[], None]) -> np.ndarray:
        """Return the energies with which the sweep begins: those of the first process, or of the run before.

        Parameters
        ----------
        compute : callable
            Computes them; called by the first process, where the file has none.
        wait : callable
            Called at each look at files of the others; may raise.
        """
        self._start = self.file.start()
        if self._start is None and self.launch.rank == 0:
            self._start = compute()
            self.write(self.read())
        if self._start is None:
            self._start = _waited_for(lambda: [self.file], self.file.start, wait)
        return self._start

    def gather(self, points: Points, wanted: Collection[tuple[int, float]], wait: Callable[[], None]) -> None:
        """Complete points with those of the other processes.

        Parameters
        ----------
        points : dict
            What this process knows; the others' are added.
        wanted : collection of (int, float)
            What must be there in the end.
        wait : callable
            Called at each look at files of the others; may raise.

        Raises
        ------
        LostProcessError
            If nothing changed for two hours.
        FormatError
            If a file is another one.
        """
        if self.launch.count == 1:
            return
        self.write(points)
        sources = self._shares if self.launch.rank == 0 else lambda: [self.file]

        def complete() -> bool | None:
            for source in sources():
                points.update(source.read())
            return True if all(task in points for task in wanted) else None

        _waited_for(sources, complete, wait)
        if self.launch.rank == 0:
            self.write(points)

    def close(self) -> None:
        """Remove shares, which the file has: the first process does, the others read them no more."""
        if self.launch.rank == 0:
            for share in self._shares():
                share.path.unlink(missing_ok=True)

    def _share(self, rank: int) -> PointsFile:
        path = self.file.path
        return PointsFile(path.with_name(f"{path.stem}.{rank}{path.suffix}"), self.file.key)

    def _shares(self) -> list[PointsFile]:
        path = self.file.path
        beside = path.parent.glob(f"{escape(path.stem)}.*{escape(path.suffix)}")
        found = (p for p in beside if p.stem.removeprefix(f"{path.stem}.").isdigit())
        return [PointsFile(p, self.file.key) for p in sorted(found)]


def _waited_for(sources: Callable[[], list[PointsFile]], look: Callable[[], T | None], wait: Callable[[], None]) -> T:
    """Look again whenever a file changed, until something is found."""
    before: object = None
    changed = time.monotonic()
    while True:
        now = [(s.path, stat.st_mtime_ns, stat.st_size) for s in sources() if (stat := _stat(s)) is not None]
        if now != before:
            found = look()
            if found is not None:
                return found
            before, changed = now, time.monotonic()
        if time.monotonic() - changed > PATIENCE:
            raise LostProcessError(
                "expected the other processes of this launch to write their points, got nothing from them for "
                f"{PATIENCE / 3600:g} hours"
            )
        wait()
        time.sleep(GLANCE)


def _stat(file: PointsFile) -> os.stat_result | None:
    try:
        return file.path.stat()
    except FileNotFoundError:
        return None
