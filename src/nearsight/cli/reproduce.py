"""`nearsight reproduce`: the paper's tables and figures, each by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from nearsight.cli.printing import Terminal, say, show
from nearsight.cli.running import shown, stopped_by_signals

EXAMPLE = """Reproduce tables and figures of the paper: data, training, test, and the paper's numbers beside ours.

Example: nearsight reproduce table-2 --quick

Example: nearsight reproduce all --quick

Example: nearsight reproduce table-4 --data runs/hfo2-1000 --minutes 60

Run the same command again to continue: what is done is not done again. --list says what there is. Each result is a
folder of --output with a table (table.md), a figure, a page and numbers (result.json); reproduction.html has all.
"""


def reproduce_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="table-2 … table-13, figure-5 … figure-11, …, or all")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="short trainings, few rows: trends in minutes")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of the results")] = Path("reproduction"),
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="a folder with data that are not shipped; may be repeated")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", min=0.01, help="training time of each network, instead of the protocol's minutes or epochs"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="of every training")] = 42,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all cores by default")] = None,
    listed: Annotated[bool, typer.Option("--list", help="list the protocols and stop")] = False,
) -> None:
    """Reproduce the paper."""
    console = Terminal()
    if listed:
        print_list(console)
        return
    from nearsight.cli.process import tune_process
    from nearsight.reproduction.protocol import chosen_names

    chosen_names(names or [])
    tune_process(threads)
    from nearsight.reproduction.run import reproduce
    from nearsight.reproduction.writing import table_lines

    with stopped_by_signals() as stop, shown(console, "reproduce") as progress:
        done = reproduce(
            *(names or []),
            output=output,
            quick=quick,
            data=data or [],
            minutes=minutes,
            seed=seed,
            progress=progress,
            stop=stop,
        )
    for result in done.results:
        say(console, f"\n{result.title}", "bold")
        for line in table_lines(result):
            say(console, line)
        for text in result.findings:
            say(console, f"  {text}")
    if done.page is not None:
        say(console, f"All of it: {done.page.resolve()}")
    for name, why in done.left_out.items():
        say(console, f"{name} is not done: {why}", "red")
    say(console, f"{len(done.results)} results in {done.minutes:.1f} minutes.")
    if done.interrupted:
        say(console, "Run the same command again to go on.")
        raise KeyboardInterrupt
    if done.left_out:
        raise typer.Exit(1)


def print_list(console: Console) -> None:
    """Print every protocol with its title."""
    from nearsight.reproduction.protocol import load_protocol, protocol_names

    table = Table(box=None)
    for head in ("name", "what"):
        table.add_column(head)
    for name in protocol_names():
        table.add_row(name, load_protocol(name).title)
    show(console, table)
