"""How far CP2K's self-consistent field is, from its output as it grows."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable

_STEP = re.compile(r"^ +(\d+) (?:\S+/\S+|OT \w+) +\S+ +\S+ +(\S+) +(-?\d+\.\d+)")
_WINDOW = 8
"""Steps from which the speed of convergence is taken."""


class ScfWatch:
    """Reads pieces of output and says where the field stands.

    Args:
        eps: convergence that is aimed at.
        most: steps at most.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(self, eps: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.eps, self.most, self.clock = eps, most, clock
        self._rest = ""
        self._steps: list[tuple[float, float]] = []

    def read(self, text: str) -> str | None:
        """The state after a further piece of output; None where it holds no new step."""
        *lines, self._rest = (self._rest + text).split("\n")
        said = None
        for line in lines:
            if found := _STEP.match(line):
                change, energy = float(found[2]), float(found[3])
                self._steps = [] if found[1] == "1" else self._steps
                self._steps.append((self.clock(), change))
                said = (f"SCF step {found[1]} of at most {self.most}: change {change:.0e}, energy {energy:.4f} E_h"
                        f"{self._eta()}")
        return said

    def _eta(self) -> str:
        """Steps fall about exponentially: the time to the aim at the speed of the last ones."""
        recent = self._steps[-_WINDOW:]
        if len(recent) < 4 or recent[-1][1] <= 0 or recent[0][1] <= recent[-1][1]:
            return ""
        (began, first), (now, last) = recent[0], recent[-1]
        speed = math.log(first / last) / (len(recent) - 1)
        steps = min(max(math.log(last / self.eps), 0.0) / speed, self.most - len(self._steps))
        seconds = round(steps * (now - began) / (len(recent) - 1))
        return f", about {seconds // 60}:{seconds % 60:02d} left"
