"""Progress that tests listen to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nearsight.progress import Event, Progress


def listening(
    records: list[dict[str, Any]] | None = None,
    messages: list[str] | None = None,
    at_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> Progress:
    """Progress that keeps the records of epochs and the messages, and calls `at_record` with each record."""

    def progress(event: Event) -> None:
        if event.message and messages is not None:
            messages.append(event.message)
        if "epoch" in event.values:
            record = dict(event.values)
            if records is not None:
                records.append(record)
            at_record(record)

    return progress
