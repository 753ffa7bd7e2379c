"""`nearsight generate`: structures made and computed, from a formula or files to a training set."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TimeElapsedColumn
from rich.progress import Progress as Bars

from nearsight.api.data import collect, generate, write_inputs
from nearsight.cli.main import EXIT_INTERRUPTED
from nearsight.cli.printing import Terminal, Words, say
from nearsight.cli.running import stopped_by_signals
from nearsight.errors import ConfigError
from nearsight.progress import Event
from nearsight.recipes.campaign_run import CampaignResult
from nearsight.recipes.engine import ALLOW_IMPORT

EXAMPLE = """Make structures and compute them: a campaign (a YAML file, or a shipped one) into a folder of stores (.h5).

Shipped: hfo2-96, hfo2-1000, hfox, gst, ptge, molecules. Kill it anywhere and run it again: nothing is done twice.

Example: nearsight generate hfo2-96

Example: nearsight generate my.yaml --output runs/my --set dft.cutoff=500 --set processes=2
"""


def generate_command(
    campaign: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped campaign.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder; runs/NAME if none is given.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the campaign's, such as dft.cutoff=500.")
    ] = None,
    write_only: Annotated[
        bool,
        typer.Option(
            "--write-only", help="Make structures and write CP2K's inputs to run elsewhere (jobs/*/external)."
        ),
    ] = False,
    collect_only: Annotated[
        bool, typer.Option("--collect", help="Read what --write-only wrote and ran elsewhere.")
    ] = False,
    allow_import: Annotated[
        list[str] | None,
        typer.Option("--allow-import", help="A package whose code an engine ase:MODULE.CLASS may run; repeatable."),
    ] = None,
) -> None:
    """Make structures and compute them."""
    if allow_import:
        os.environ[ALLOW_IMPORT] = ",".join(allow_import)
    if write_only and collect_only:
        raise ConfigError("expected one of --write-only and --collect, got both")
    started = time.monotonic()
    with _Lines() if write_only or collect_only or not sys.stderr.isatty() else _Bars() as display:
        if write_only:
            _print_folders(write_inputs(campaign, output, overrides=changes or [], progress=display))
            return
        if collect_only:
            result = collect(campaign, output, overrides=changes or [])
        else:
            with stopped_by_signals() as stop:
                result = generate(campaign, output, overrides=changes or [], progress=display, stop=stop)
    _print_result(result, (time.monotonic() - started) / 60)
    if result.unfinished and not collect_only:
        say(Terminal(), "Run the same command again to go on.")
        raise typer.Exit(EXIT_INTERRUPTED)
    if result.failed:
        say(Terminal(), "Run the same command again to try what failed.")
        raise typer.Exit(1)


def _print_result(result: CampaignResult, minutes: float) -> None:
    console = Terminal()
    for name, path in result.stores.items():
        say(console, path, "bold")
        for line in result.summaries[name]:
            say(console, f"  {line}")
    for name, why in result.failed.items():
        say(console, f"{name} failed: {why}", "red")
    jobs = len(result.stores) + len(result.failed) + len(result.unfinished)
    say(console, f"{len(result.stores)} of {jobs} structures in {result.folder}; {minutes:.1f} minutes.")


def _print_folders(folders: list[Path]) -> None:
    for folder in folders:
        say(Terminal(), f"{folder}: run.sh")
    say(
        Terminal(),
        f"{len(folders)} inputs written. Run each run.sh where CP2K is, bring the folders back, then: the same command "
        "with --collect.",
    )


class _Bars:
    """A line per running job and a bar for all."""

    def __init__(self) -> None:
        self.bars = Bars(
            Words("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Words("{task.fields[left]}"),
            console=Terminal(stderr=True),
            transient=True,
        )
        self.rows: dict[str, TaskID] = {}
        self.all = self.bars.add_task("structures", total=None, left="")

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.bars.stop()

    def __call__(self, event: Event) -> None:
        job, seconds = str(event.values.get("job", "")), event.values.get("seconds_left")
        left = "" if seconds is None else f"left {_clock(float(seconds))}"
        self.bars.update(self.all, completed=event.done, total=event.total, left=left)
        if event.values.get("state") == "running":
            if job not in self.rows:
                self.rows[job] = self.bars.add_task(job, total=None, left="")
            self.bars.update(self.rows[job], description=event.message)
        elif job in self.rows:
            self.bars.remove_task(self.rows.pop(job))


class _Lines:
    """Where nobody watches: a line when a job begins a new step, and one per job that ends."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *problem: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        job, message = str(event.values.get("job", "")), event.message
        if event.values.get("state") in ("done", "failed"):
            seconds = event.values.get("seconds_left")
            left = "" if seconds is None else f"; left {_clock(float(seconds))}"
            message = f"{message}, {event.done} of {event.total}{left}"
        else:
            message = message.split(",")[0].split(" of at most")[0].split(" step ")[0]
        if message and self.last.get(job) != message:
            say(Terminal(stderr=True), message)
            self.last[job] = message


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
