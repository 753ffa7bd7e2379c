"""What long work says while it runs, and how it is asked to stop.

Every function of the library that takes long accepts a `Progress`: a callable that is given one `Event` after another.
The library itself prints nothing, installs no signal handlers and never exits; a command line does so with these two
types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from threading import Event as _Flag

Value = float | int | str


@dataclass(frozen=True)
class Event:
    """One thing that long work says.

    Attributes
    ----------
    message : str
        A line for people; empty where only a number moved on.
    done, total : float or None
        How much is done, and of how much, in any unit; None where that is not known.
    values : mapping of str to number or text
        Numbers by name, such as the record of a training epoch.
    """

    message: str = ""
    done: float | None = None
    total: float | None = None
    values: Mapping[str, Value] = field(default_factory=dict)


Progress = Callable[[Event], None]
"""Called with every event, in the thread that does the work."""


def silent(event: Event) -> None:
    """Say nothing: the default of every `progress` argument."""


class StopToken:
    """Asks long work to stop at its next safe point, where it can be resumed.

    Safe to use from a signal handler and from another thread.
    """

    def __init__(self) -> None:
        self._flag = _Flag()
        self.reason = ""

    def stop(self, reason: str = "stopped") -> None:
        """Ask for the stop, with the reason that the result will give."""
        self.reason = self.reason or reason
        self._flag.set()

    @property
    def stopped(self) -> bool:
        """Whether a stop was asked for."""
        return self._flag.is_set()


def labelled(progress: Progress, before: str = "", after: str = "") -> Progress:
    """Return a progress that passes events on with texts around their messages; messages that are empty stay so."""
    return lambda event: progress(replace(event, message=f"{before}{event.message}{after}") if event.message else event)
