"""A foreign program run in a folder: found, watched, ended with this process, its last words in the error."""

from __future__ import annotations

import ctypes
import os
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
    """Return the path of the first program that is installed, beside this Python or on the PATH.

    Parameters
    ----------
    names : sequence of str
        The names under which the program is installed.
    what : str
        What the program is called in a message.
    way_out : str
        What the message says of how to install it.

    Raises
    ------
    RecipeError
        Where none is installed.
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
    """Run a program in a folder; whatever it prints goes to a file there.

    The program ends when this process ends, however that happens (Linux), and when it is interrupted.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    folder : Path
        The folder in which it runs.
    output : str
        The name of the file in `folder` for what it prints.
    what : str
        What the program is called in messages.
    environment : mapping of str to str, optional
        Variables of the environment besides those that are set.
    watch : callable, optional
        Called with every new piece of the output.
    allowed : sequence of int, optional
        The exit codes that are not errors.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    RecipeError
        Where the exit code is another one; the message has the last lines of the output.
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
    """Return the last `count` lines of a text file that are not blank, or `(no output)`."""
    if not path.is_file():
        return "(no output)"
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8000))
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join(lines[-count:]) or "(no output)"


def _follow(process: subprocess.Popen[bytes], path: Path, watch: Callable[[str], None]) -> None:
    """Hand on what is written to a file until the process ends."""
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
    """End a process that still runs, by force if it does not end within ten seconds."""
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
