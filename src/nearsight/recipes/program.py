"""A foreign program run in a folder: found, watched, ended with us, its last words in the error.

How far CP2K's self-consistent field is, from its output as it grows.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nearsight.errors import RecipeError

_POLL = 0.2
_PR_SET_PDEATHSIG = 1


def find_program(names: Sequence[str], what: str, way_out: str) -> str:
    """The first of `names` that is installed: beside this Python, then on the PATH.

    Raises:
        RecipeError: none is; `what` and `way_out` go into the message.
    """
    scripts = sysconfig.get_path("scripts")
    for name in names:
        found = shutil.which(name, path=scripts) or shutil.which(name)
        if found:
            return found
    raise RecipeError(f"expected {what} ({' or '.join(names)}) to be installed, got none; {way_out}")


def run_program(
    command: Sequence[str],
    folder: Path,
    output: str,
    what: str,
    *,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[str], None] = lambda text: None,
    allowed: Sequence[int] = (0,),
) -> int:
    """Run a program in `folder`; whatever it prints goes to the file `output` there.

    It ends when we end, however that happens (Linux), and when we are interrupted.

    Args:
        command: program and arguments.
        folder: where it runs.
        output: name of a file in `folder`.
        what: its name in messages.
        environment: variables besides those that are set.
        watch: called with every new piece of the output.
        allowed: exit codes that are not errors.

    Returns:
        The exit code.

    Raises:
        RecipeError: any other exit code; the message has the last lines of the output.
    """
    path = folder / output
    with path.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            preexec_fn=end_with_parent,
        )
    try:
        _follow(process, path, watch)
    finally:
        _stop(process)
    if process.returncode not in allowed:
        raise RecipeError(
            f"expected {what} to end well, got exit code {process.returncode} in {folder}; its last "
            f"words in {output}:\n{last_lines(path)}"
        )
    return process.returncode


def last_lines(path: Path, count: int = 12) -> str:
    """The last lines of a text file that are not blank."""
    if not path.is_file():
        return "(no output)"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8000))
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "(no output)"


def _follow(process: subprocess.Popen[bytes], path: Path, watch: Callable[[str], None]) -> None:
    with path.open("rb") as file:
        while True:
            ended = process.poll() is not None
            text = file.read().decode("utf-8", "replace")
            if text:
                watch(text)
            if ended and not text:
                return
            if not ended:
                time.sleep(_POLL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_with_parent() -> None:
    """Ask the kernel to kill this process once its parent is gone (Linux; elsewhere nothing is asked)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


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
                said = (
                    f"SCF step {found[1]} of at most {self.most}: change {change:.0e}, energy {energy:.4f} E_h"
                    f"{self._eta()}"
                )
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
