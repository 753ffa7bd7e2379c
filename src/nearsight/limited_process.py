"""Libraries that read files of others, in a process of its own with limits of time and memory.

A damaged file can make a library compute for ever, crash, or ask for all the memory there is. So a question about a
file is put to a process that may end, and is started again for the next one; it is kept as long as it answers.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 120.0
"""Seconds to wait for an answer, where it is the disk or the machine that is slow."""
_LARGEST = 50_000_000
"""Bytes of a file beyond which time and memory do not grow any more: files with holes seem to have any size."""
_READY = "ready"
NO_MEMORY = "no memory"
"""The answer where the limit of the memory was met."""
_PACKAGES = Path(__file__).parents[1]


class NoAnswerError(Exception):
    """Raised where the process has ended without an answer, and was not short of memory."""


class NoProcessError(Exception):
    """Raised where no process can be started: there is no Python to start, or the system does not let it."""


@dataclass(frozen=True)
class Limits:
    """What the process may use for one file, besides what it has at its start.

    Attributes
    ----------
    seconds, seconds_per_byte : float
        Processor time, and how much more for each byte of the file.
    memory, memory_per_byte : int
        Bytes of address space, and how many more for each byte of the file.
    """

    seconds: float
    seconds_per_byte: float
    memory: int
    memory_per_byte: int = 0


class LimitedProcess:
    """A process that answers questions about files with a line of text each.

    Parameters
    ----------
    module : str
        The module that is run; it calls `serve`.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}  # of each parent: a fork starts one of its own
        atexit.register(self.stop)

    @property
    def pid(self) -> int | None:
        """The number of the process that runs now, if there is one."""
        process = self._processes.get(os.getpid())
        return None if process is None else process.pid

    def ask(self, path: str | Path, **words: str) -> str:
        """Put a question about a file.

        Parameters
        ----------
        path : str or pathlib.Path
            The file.
        **words : str
            What else the question says.

        Returns
        -------
        str
            The answer, one line; `NO_MEMORY` where the process met its limit.

        Raises
        ------
        NoAnswerError
            If the process ends, or takes too long; another one is started for the next question.
        NoProcessError
            If there is no process to ask.
        """
        with self._lock:
            process = self._running()
            try:
                answer = self._exchanged(process, {**words, "path": os.path.abspath(path)})
            except BaseException:  # also an interrupt: its answer would be taken for that to the next question
                self.stop()
                raise
            if answer is None or answer == NO_MEMORY:
                self.stop()
            if answer is None:
                raise NoAnswerError
            return answer

    def stop(self) -> None:
        """End the process, if one runs."""
        process = self._processes.pop(os.getpid(), None)
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            process.wait()

    def _exchanged(self, process: subprocess.Popen[bytes], question: dict[str, str]) -> str | None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            return _line(process)
        except OSError:
            return None

    def _running(self) -> subprocess.Popen[bytes]:
        process = self._processes.get(os.getpid())
        if process is not None and process.poll() is None:
            return process
        self.stop()
        if not sys.executable:
            raise NoProcessError
        own = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        search = os.pathsep.join([str(_PACKAGES), *map(os.path.abspath, own)])
        try:
            # Python looks for modules in the present folder first, which may be one of others.
            process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=_PACKAGES,
                env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
            self._processes[os.getpid()] = process
            ready = _line(process) == _READY
        except OSError as error:
            raise NoProcessError from error
        if not ready:
            self.stop()
            raise NoProcessError
        return process


def _line(process: subprocess.Popen[bytes]) -> str | None:
    """One line; None where none comes, since the process has ended or waits for ever."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_PATIENCE):
            return None
        line = process.stdout.readline()
        return line.decode().strip() if line.endswith(b"\n") else None


def serve(answer: Callable[[dict[str, str]], str], limits: Limits) -> None:
    """Answer each question on the standard input with a line, for as long as the parent lives.

    Parameters
    ----------
    answer : callable
        Makes the answer, one line, of what was asked: `path`, and what else `ask` was given.
    limits : Limits
        What each answer may take.
    """
    import resource

    def limit(kind: int, value: int) -> None:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard < 0 else min(value, hard), hard))

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    base = _address_space()
    limit(resource.RLIMIT_CORE, 0)
    tell(_READY)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            size = min(os.stat(question["path"]).st_size, _LARGEST)
        except OSError:
            size = 0
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = used.ru_utime + used.ru_stime + limits.seconds + size * limits.seconds_per_byte
        limit(resource.RLIMIT_CPU, int(seconds) + 1)
        limit(resource.RLIMIT_AS, base + limits.memory + size * limits.memory_per_byte)
        try:
            said = answer(question)
        except MemoryError:
            said = NO_MEMORY
        tell(said)


def _address_space() -> int:
    """Bytes of address space that this process has now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
