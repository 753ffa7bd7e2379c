"""Sweep: a junction solved over energies and k⊥, in parallel processes, kept on disk and taken up again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from nearsight.blas_threads import suited_to
from nearsight.child_process import Workers
from nearsight.errors import InputError, NearsightError
from nearsight.launch import Launch
from nearsight.progress import Event, Progress, StopToken, silent
from nearsight.quantum_transport.adaptive import refined
from nearsight.quantum_transport.energy_point import EnergyPoint, energy_point
from nearsight.quantum_transport.junction import Junction, JunctionAtK
from nearsight.quantum_transport.landauer import window_function
from nearsight.quantum_transport.points_file import PointsFile
from nearsight.quantum_transport.resonances import energies_around, find_resonances
from nearsight.quantum_transport.self_energy import ETA
from nearsight.quantum_transport.shared_points import SharedPoints

Task = tuple[int, float]
"""The number of a k⊥, and an energy relative to `zero`."""
Solve = Callable[[list[Task]], Iterable[tuple[Task, EnergyPoint]]]

SAVE_EVERY = 20.0
"""Seconds between two writings of what is done."""
MOST_ENERGIES = 1_000_000
"""Energies of a grid."""
FINEST = 1e-8
"""Smallest fraction of an integral that refinement can be asked for."""
LARGEST_ETA = 1.0
"""eV; a wider one is no small imaginary part."""
FARTHEST = 1e5
"""eV from the zero of energy, far beyond all levels of valence electrons."""
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, eq=False)
class SweepSettings:
    """Over which energies and k⊥ a junction is solved.

    Attributes
    ----------
    energies : (E,) array of float
        Ascending, eV, relative to `zero`: the grid, or where refinement begins.
    zero : float
        The Fermi level in the device's zero of energy, eV.
    k_points : (K, 3) array of float
        k⊥ in units of the reciprocal lattice vectors.
    weights : (K,) array of float
        Their sum is 1.
    eta : float
        η in the leads, eV.
    tolerance : float or None
        Fraction of the integral of T that refinement may leave as error; None keeps the grid as it is.
    finest : float
        eV, shortest interval of refinement.
    bias, temperature : float
        V and K: refinement weights T with f_L − f_R where the bias is not 0.
    local : bool
        Whether reflection and local densities of states are computed.
    """

    energies: np.ndarray
    zero: float
    k_points: np.ndarray
    weights: np.ndarray
    eta: float = ETA
    tolerance: float | None = None
    finest: float = 1e-7
    bias: float = 0.0
    temperature: float = 300.0
    local: bool = False

    def __post_init__(self) -> None:
        energies = np.asarray(self.energies, dtype=np.float64)
        if energies.ndim != 1 or len(energies) == 0 or not np.isfinite(energies).all():
            raise InputError(f"expected a list of finite energies in eV, got {self.energies!r}")
        if np.any(np.diff(energies) <= 0):
            raise InputError("expected ascending energies, each once")
        if not np.abs(energies + self.zero).max() < FARTHEST:
            raise InputError(
                f"expected energies within {FARTHEST:g} eV, got {energies[0]:g} to {energies[-1]:g} eV about a Fermi "
                f"level of {self.zero:g} eV"
            )
        if len(energies) > MOST_ENERGIES:
            raise InputError(f"expected at most {MOST_ENERGIES:,} energies, got {len(energies):,}")
        if self.tolerance is not None and not FINEST <= self.tolerance < 1:
            raise InputError(f"expected a tolerance between {FINEST:g} and 1, got {self.tolerance}")
        if not 0 < self.eta <= LARGEST_ETA:
            raise InputError(f"expected η above 0 and at most {LARGEST_ETA:g} eV, got {self.eta}")
        object.__setattr__(self, "energies", energies)


@dataclass(eq=False)
class Sweep:
    """A junction solved over energies.

    Attributes
    ----------
    junction : Junction
        What is solved.
    settings : SweepSettings
        Where.
    file : PointsFile or None
        Where points are kept; those that it has are not computed again.
    processes : int
        Number of processes, each with one thread of BLAS, at most one for each core; 1 works in this one, with one
        thread where layers are small.
    solver : callable, optional
        Solves a list of tasks instead, such as batches of them on a GPU.
    launch : Launch
        Which of the processes that were started together this is: each solves its share, and all know all in the end.
    """

    junction: Junction
    settings: SweepSettings
    file: PointsFile | None = None
    processes: int = 1
    solver: Solve | None = None
    launch: Launch = field(default_factory=Launch)
    points: dict[tuple[int, float], EnergyPoint] = field(default_factory=dict)

    def run(
        self, progress: Progress = silent, stop: StopToken | None = None
    ) -> tuple[np.ndarray, list[list[EnergyPoint]]]:
        """Solve at all energies.

        Parameters
        ----------
        progress : callable, optional
            Told how many energies are done, with the seconds left of the round.
        stop : StopToken, optional
            Ends the sweep after the points under way; what is done is in the file.

        Returns
        -------
        (E,) array of float, list of K lists of E EnergyPoint
            Energies relative to `zero`, ascending, and the points of each k⊥.

        Raises
        ------
        InterruptedSweepError
            If it was stopped.
        """
        settings = self.settings
        if self.file is None and self.launch.count > 1:
            raise InputError("expected a file for the points of several processes, by which they share them, got none")
        self._shared = None if self.file is None else SharedPoints(self.file, self.launch)
        if self._shared is not None:
            self.points.update(self._shared.read())
        self._saved = time.monotonic()
        largest = int(np.diff(self.junction.layers).max())
        with suited_to(largest), self._workers() as solve:
            self._solve = solve
            self._progress, self._stop = progress, stop
            try:
                start = self._begin()
                if settings.tolerance is None:
                    self._values(start)
                    energies = start
                else:
                    energies = refined(self._values, start, settings.tolerance, settings.finest, self._weight)
            except BaseException:
                self._save()
                raise
        if self._shared is not None and self.launch.rank == 0:
            self._save()
            self._shared.close()
        return energies, [[self.points[k, float(e)] for e in energies] for k in range(len(settings.k_points))]

    def _begin(self) -> np.ndarray:
        settings = self.settings
        if settings.tolerance is None or len(settings.energies) < 2:
            return settings.energies
        return self._start() if self._shared is None else self._shared.start(self._start, self._check_stop)

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop.stopped:
            raise InterruptedSweepError(self._stop.reason)

    def _start(self) -> np.ndarray:
        settings = self.settings
        self._progress(Event("levels of the device"))
        low, high = float(settings.energies[0]), float(settings.energies[-1])
        step = float(np.diff(settings.energies).max())
        energies = [settings.energies]
        for number, k in enumerate(settings.k_points):
            self._progress(Event(done=number, total=len(settings.k_points)))
            at_k = self.junction.at(k)
            found = find_resonances(at_k, low + settings.zero, high + settings.zero, settings.eta)
            energies.append(energies_around(found, low + settings.zero, high + settings.zero, step) - settings.zero)
        return np.unique(np.concatenate(energies))

    def _weight(self, energies: np.ndarray) -> np.ndarray:
        settings = self.settings
        if settings.bias == 0:
            return np.ones(len(energies))
        return window_function(energies, settings.bias, settings.temperature)

    def _values(self, energies: np.ndarray) -> np.ndarray:
        """T averaged over k⊥ at energies, computed where it is not known."""
        wanted = [(k, float(e)) for k in range(len(self.settings.k_points)) for e in energies]
        shared = self._shared
        tasks = [t for n, t in enumerate(wanted) if t not in self.points and (shared is None or shared.is_mine(n))]
        began, total = time.monotonic(), len(self.points) + len(tasks)
        for number, (task, point) in enumerate(self._solve(tasks), 1):
            self.points[task] = point
            left = (time.monotonic() - began) / number * (len(tasks) - number)
            self._progress(Event(done=len(self.points), total=total, values={"seconds_left": left}))
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()
            self._check_stop()
        if shared is not None:
            shared.gather(self.points, wanted, self._check_stop)
        weights = self.settings.weights
        return np.array(
            [sum(w * self.points[k, float(e)].transmission for k, w in enumerate(weights)) for e in energies]
        )

    def _save(self) -> None:
        if self._shared is not None and self.points:
            self._shared.write(self.points)
        self._saved = time.monotonic()

    @contextmanager
    def _workers(self) -> Iterator[Solve]:
        if self.solver is not None:
            yield self.solver
            return
        processes = min(self.processes, os.cpu_count() or 1)
        if processes == 1:
            solver = _Solver(self.junction, self.settings)
            yield lambda tasks: ((task, solver(task)) for task in tasks)
            return
        with Workers(processes, _Solver, self.junction, self.settings, environment=_ONE_THREAD) as workers:
            yield lambda tasks: zip(tasks, workers.map(tasks))


class InterruptedSweepError(NearsightError):
    """Raised where a sweep was stopped; what is done is kept in its file."""


class _Solver:
    """Solves a junction at one energy after another; the matrices of the last k⊥ are kept."""

    def __init__(self, junction: Junction, settings: SweepSettings) -> None:
        self.junction, self.settings = junction, settings
        self.last: tuple[int, JunctionAtK] | None = None

    def __call__(self, task: tuple[int, float]) -> EnergyPoint:
        k, energy = task
        if self.last is None or self.last[0] != k:
            self.last = k, self.junction.at(self.settings.k_points[k])
        settings = self.settings
        return energy_point(self.last[1], self.junction.starts, energy + settings.zero, settings.eta, settings.local)
