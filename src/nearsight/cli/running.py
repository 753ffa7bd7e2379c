"""Long commands: progress on the screen, and Ctrl-C or a signal as a stop at the next safe point."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import Progress as Bar

from nearsight.cli.printing import say
from nearsight.progress import Event, Progress, StopToken


@contextmanager
def stopped_by_signals() -> Iterator[StopToken]:
    """Give a token that SIGINT and SIGTERM stop; a second signal raises KeyboardInterrupt at once."""
    token = StopToken()

    def stop(number: int, frame: FrameType | None) -> None:
        if token.stopped:
            raise KeyboardInterrupt
        token.stop(f"stopped by {signal.Signals(number).name}; run the same command to continue")

    handlers: dict[int, Any] = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield token
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def shown(console: Console, task: str) -> Iterator[Progress]:
    """Show what long work says: its messages as lines, how far it is as a bar where there is a terminal."""
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        line = bar.add_task(task, total=None)

        def progress(event: Event) -> None:
            if event.message:
                say(console, event.message)
            if event.done is not None:
                bar.update(line, completed=event.done, total=event.total)

        yield progress
