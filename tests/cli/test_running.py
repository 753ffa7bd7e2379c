"""Signals become a stop at the next safe point, a second one an interruption; messages are no markup."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from nearsight.cli.running import say, shown, stopped_by_signals
from nearsight.progress import Event


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_and_a_second_one_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stopped_by_signals() as token:
        assert not token.stopped
        signal.raise_signal(number)
        assert token.stopped
        assert token.reason == f"stopped by {number.name}; run the same command to continue"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_what_is_said_is_no_markup() -> None:
    out = io.StringIO()
    console = Console(file=out, width=40)
    with shown(console, "working") as progress:
        progress(Event("a [/red] path", done=1, total=2))
    say(console, "[bold]b")
    assert out.getvalue() == "a [/red] path\n[bold]b\n"
