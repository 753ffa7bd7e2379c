"""`nearsight generate`: structures made and computed, from a formula or files to a training set."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from nearsight.errors import ConfigError
from nearsight.recipes.campaign import load_campaign
from nearsight.recipes.campaign_run import CampaignRun, Progress

EXAMPLE = """Make structures and compute them: a campaign (a YAML file, or a shipped one) into a folder of stores (.h5).

Shipped: hfo2-96, hfox, gst, ptge, molecules. Kill it anywhere and run it again: nothing is done twice.

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
    collect: Annotated[bool, typer.Option("--collect", help="Read what --write-only wrote and ran elsewhere.")] = False,
) -> None:
    """Make structures and compute them."""
    if write_only and collect:
        raise ConfigError("expected one of --write-only and --collect, got both")
    loaded = load_campaign(campaign, dict(_pair(text) for text in changes or []))
    base = Path(campaign).resolve().parent if Path(campaign).is_file() else Path.cwd()
    folder = output or Path("runs") / Path(campaign).stem
    run = CampaignRun(loaded, folder, base)
    console = Console()
    if write_only:
        _written(console, run)
    elif collect:
        _collected(console, run)
    else:
        _run(console, run)


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"expected --set KEY=VALUE, such as dft.cutoff=500, got {text!r}")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"expected a value after {key}=, got {value!r}") from error


def _run(console: Console, run: CampaignRun) -> None:
    started = time.monotonic()
    display = _Bars() if sys.stderr.isatty() else _Lines()
    with display:
        failed = run.run(display)
    for task in run.tasks:
        folder = run.folders[task.name]
        if task.name in failed:
            console.print(f"[red]{escape(task.name)} failed[/]: {escape(folder.error)}")
            continue
        console.print(f"[bold]{escape(os.fspath(folder.result))}[/]")
        for line in folder.summary:
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    minutes = (time.monotonic() - started) / 60
    done = len(run.tasks) - len(failed)
    console.print(f"{done} of {len(run.tasks)} structures in {run.output}; {minutes:.1f} minutes.")
    if failed:
        console.print("Run the same command again to try what failed.")
        raise typer.Exit(1)


def _written(console: Console, run: CampaignRun) -> None:
    folders = run.write_inputs(_changes(console))
    for folder in folders:
        console.print(f"{escape(os.fspath(folder))}: run.sh")
    console.print(
        f"{len(folders)} inputs written. Run each run.sh where CP2K is, bring the folders back, then: the "
        "same command with --collect."
    )


def _collected(console: Console, run: CampaignRun) -> None:
    read, left = run.collect()
    for name in left:
        console.print(f"[yellow]{escape(name)}[/]: {escape(run.folders[name].error)}")
    console.print(f"{len(read)} read, {len(left)} not finished or faulty, in {run.output}.")
    if left:
        raise typer.Exit(1)


def _changes(console: Console) -> Callable[[str], None]:
    """Prints a text when its first words change."""
    last = [""]

    def report(text: str) -> None:
        head = text.split(",")[0]
        if head != last[0]:
            console.print(escape(head))
            last[0] = head

    return report


class _Bars:
    """A line per running job and a bar for all."""

    def __init__(self) -> None:
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self.rows: dict[str, TaskID] = {}
        self.all: TaskID | None = None

    def __enter__(self) -> _Bars:
        self.bars.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.bars.stop()

    def __call__(self, progress: Progress) -> None:
        if self.all is None:
            self.all = self.bars.add_task("structures", total=progress.total, left="")
        left = "" if progress.left is None else f"left {_clock(progress.left)}"
        self.bars.update(self.all, completed=len(progress.done) + len(progress.failed), left=left)
        running = dict(progress.running)
        for name in [name for name in self.rows if name not in running]:
            self.bars.remove_task(self.rows.pop(name))
        for name, status in running.items():
            if name not in self.rows:
                self.rows[name] = self.bars.add_task(name, total=None, left="")
            self.bars.update(self.rows[name], description=escape(f"{name}: {status}"))


class _Lines:
    """Where nobody watches: a line when a job begins a new step, and one per job that ends."""

    def __init__(self) -> None:
        self.last: dict[str, str] = {}
        self.ended: set[str] | None = None

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *problem: object) -> None:
        return None

    def __call__(self, progress: Progress) -> None:
        ended = {*progress.done, *progress.failed}
        for name in sorted(ended - (self.ended if self.ended is not None else ended)):
            left = "" if progress.left is None else f"; left {_clock(progress.left)}"
            print(
                f"{name}: {'failed' if name in progress.failed else 'done'}, {len(ended)} of {progress.total}{left}",
                file=sys.stderr,
                flush=True,
            )
        self.ended = ended
        for name, status in progress.running:
            head = status.split(",")[0].split(" of at most")[0].split(" step ")[0]
            if head and self.last.get(name) != head:
                print(f"{name}: {head}", file=sys.stderr, flush=True)
                self.last[name] = head


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
