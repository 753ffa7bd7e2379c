"""Reproduce the paper: protocols one after another, what they share once, what is done never again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from nearsight.atomic_files import explained
from nearsight.errors import InputError, NearsightError
from nearsight.folder_lock import locked_folder
from nearsight.progress import Event, Progress, StopToken, silent
from nearsight.reproduction import analyses, comparison, cost, currents, levels, molecules, slices
from nearsight.reproduction.protocol import AnyProtocol, chosen_names, load_protocol
from nearsight.reproduction.result import Result
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace
from nearsight.reproduction.writing import write_overview, write_result
from nearsight.version import __version__


class Kind(NamedTuple):
    """What a kind of protocol can do."""

    units: Callable[[str, Any, Workspace], list[Unit]]
    result: Callable[[str, Any, Workspace], Result]
    figure: Callable[[Result, Any], Figure | None]
    missing: Callable[[Any, Workspace], list[str]]


KINDS = {
    name: Kind(module.units, module.result, module.figure, module.missing)  # type: ignore[attr-defined]
    for name, module in (
        ("comparison", comparison),
        ("analysis", analyses),
        ("levels", levels),
        ("molecules", molecules),
        ("slices", slices),
        ("cost", cost),
        ("currents", currents),
    )
}
"""What does the work of each kind of protocol."""


@dataclass(frozen=True)
class Reproduction:
    """What `reproduce` did.

    Attributes
    ----------
    folder : Path
        Where it is.
    results : tuple of Result
        One for each protocol that was run to its end.
    left_out : dict of str to str
        Protocols that could not be run, and why: data that they need, or what went wrong; the others are done all the
        same.
    page : Path or None
        One HTML page of all results; None where there is none.
    interrupted : bool
        Whether it was asked to stop; the same call goes on.
    minutes : float
        Time taken.
    """

    folder: Path
    results: tuple[Result, ...]
    left_out: dict[str, str]
    page: Path | None
    interrupted: bool
    minutes: float


def reproduce(
    *names: str,
    output: str | PathLike[str] = "reproduction",
    quick: bool = False,
    data: Sequence[str | PathLike[str]] = (),
    minutes: float | None = None,
    seed: int = 42,
    progress: Progress = silent,
    stop: StopToken | None = None,
) -> Reproduction:
    """Reproduce tables and figures of the paper: train, test, and write each beside the paper's numbers.

    What is done already is not done again; a call that was stopped or killed goes on where it was.

    Parameters
    ----------
    *names : str
        Protocols, such as ``table-2`` and ``figure-5``, or ``all``; `protocol_names` lists them.
    output : path
        Folder of the results: for each protocol JSON, a table in markdown, a figure and a page; and the trainings,
        which protocols share.
    quick : bool
        Short trainings on few rows: trends, no converged numbers.
    data : sequence of path
        Folders with data that are not shipped: results of campaigns, databases of molecules.
    minutes : float, optional
        Training time of each network instead of the protocols' own minutes or epochs.
    seed : int
        Of every training.
    progress : Progress
        Told what is done, how much is left, and for how long.
    stop : StopToken, optional
        Ends the work at the next safe point; the same call goes on.

    Returns
    -------
    Reproduction
        Results, and what could not be run.

    Raises
    ------
    ConfigError
        There is no protocol of a name, or another process works in the folder.
    InputError
        A single protocol was asked for whose data are not there; the message says which campaign makes them. A file
        with the name of a data set holds something else. The output is a file.

    Examples
    --------
    >>> import nearsight as ns
    >>> found = ns.reproduce("table-2", output="reproduction", quick=True)  # doctest: +SKIP
    >>> found.results[0].lines[1].who, found.results[0].lines[1].values["eps_n_mEh"]  # doctest: +SKIP
    ('xia2025', 5.1)
    """
    chosen, token, began = chosen_names(list(names)), stop or StopToken(), time.monotonic()
    folders = tuple(Path(folder) for folder in data)
    for folder in folders:
        if not folder.is_dir():
            what = "a file; name the folder that it is in" if folder.exists() else "no such folder"
            raise InputError(f"expected a folder with data, got {folder}: {what}")
    workspace = Workspace(_folder(output), folders, quick, minutes, seed)
    protocols = {name: load_protocol(name) for name in chosen}
    plans = {name: KINDS[p.kind].units(name, p, workspace) for name, p in protocols.items()}
    left_out = {
        name: "; ".join(KINDS[protocols[name].kind].missing(protocols[name], workspace)) or "nothing to do"
        for name, plan in plans.items()
        if not plan
    }
    if len(left_out) == len(chosen):
        raise InputError(
            f"expected data for {', '.join(chosen)}, got none: {' / '.join(dict.fromkeys(left_out.values()))}"
        )
    with explained(workspace.folder):
        workspace.folder.mkdir(parents=True, exist_ok=True)
    with locked_folder(workspace.folder, "give another --output"):
        pace, results = _Pace([unit for plan in plans.values() for unit in plan], progress), []
        for name, why in left_out.items():
            progress(Event(f"{name} is left out: {why}"))
        for name, plan in plans.items():
            try:
                if plan and _done(name, plan, pace, token):
                    results.append(_written(name, protocols[name], workspace))
                    progress(Event(f"{name}: {workspace.folder / name / 'page.html'}"))
            except NearsightError as error:
                if len(chosen) == 1:
                    raise
                left_out[name] = str(error)
                progress(Event(f"{name} failed: {error}"))
            if token.stopped:
                break
        page = write_overview(workspace.folder, results) if results else None
    return Reproduction(
        workspace.folder, tuple(results), left_out, page, token.stopped, (time.monotonic() - began) / 60
    )


def _folder(output: str | PathLike[str]) -> Path:
    """Return the folder of the results, which need not be there; a file in its way is refused."""
    folder = Path(output)
    in_the_way = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way is not None:
        raise InputError(f"expected a folder for the results, got the file {in_the_way}; give another --output")
    return folder


def _done(name: str, plan: Sequence[Unit], pace: _Pace, token: StopToken) -> bool:
    """Do what is not done of a protocol; return whether all is."""
    for unit in plan:
        if token.stopped:
            return False
        if not unit.done:
            pace.begin(f"{name}: {unit.says}")
            unit.work(pace.inner, token)
        pace.end(unit)
    return all(unit.done for unit in plan)


def _written(name: str, protocol: AnyProtocol, workspace: Workspace) -> Result:
    kind = KINDS[protocol.kind]
    found = kind.result(name, protocol, workspace)
    conditions = {
        "run": "quick: short trainings, trends and no converged numbers" if workspace.quick else "full",
        **found.conditions,
        "made with": f"nearsight {__version__}, {time.strftime('%Y-%m-%d')}",
    }
    found = replace(found, conditions=conditions)
    write_result(workspace.folder / name, found, kind.figure(found, protocol))
    return found


class _Pace:
    """How much of the work is done, and how long the rest will take."""

    def __init__(self, units: Sequence[Unit], progress: Progress) -> None:
        self.left = {unit.result: unit.seconds for unit in units if not unit.done}
        self.total, self.progress, self.began = sum(self.left.values()), progress, time.monotonic()

    def begin(self, says: str) -> None:
        """Say what is done now, and how long all of it will take."""
        self.progress(Event(f"{says} (about {self._minutes():.0f} min left)", self._past(), self.total))

    def end(self, unit: Unit) -> None:
        """Count a unit as done."""
        self.left.pop(unit.result, None)
        self.progress(Event(done=self._past(), total=self.total))

    def inner(self, event: Event) -> None:
        """Take what a unit says: that it lives; its own numbers are not those of the whole."""
        self.progress(Event(done=self._past(), total=self.total))

    def _past(self) -> float:
        return self.total - sum(self.left.values())

    def _minutes(self) -> float:
        """Estimated from the units' own estimates, and from how long those took that are done."""
        past, elapsed = self._past(), time.monotonic() - self.began
        pace = elapsed / past if past > 60 else 1.0
        return pace * sum(self.left.values()) / 60
