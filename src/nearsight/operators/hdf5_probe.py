"""HDF5 files tried in a process of its own first, for the library can loop for ever or crash on a damaged one.

A few flipped bits in the tables by which HDF5 finds its objects are enough. The process walks through a file as this
one is going to, with a limit of its processor time, and then says so; it is kept for the next file.
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
from pathlib import Path
from typing import Any

SECONDS = 1
"""Processor time for the tables of one file, and for every 10 GB of it; those of 40,000 chunks take a fifth of it."""
_PATIENCE = 120.0
"""Seconds to wait for the process, where it is the disk or the machine that is slow."""
_MEMORY = 4 << 30
"""Bytes of address space for it."""

DONE, TOO_LARGE = "done", "memory"


def may_be_read(path: str | Path) -> str | None:
    """Try a file, and tell what HDF5 does with it where it does not come back.

    Parameters
    ----------
    path : str or pathlib.Path
        A regular file.

    Returns
    -------
    str or None
        What happens, in words; None where the file can be opened here, whether or not it is a good one.
    """
    place = os.path.abspath(path)
    try:
        known = os.stat(place)
    except OSError:
        return None
    key = (place, known.st_ino, known.st_size, known.st_mtime_ns)
    with _LOCK:
        if key not in _ANSWERS:
            if len(_ANSWERS) > 10_000:
                _ANSWERS.clear()
            _ANSWERS[key] = _ask(place)
        return _ANSWERS[key]


_LOCK = threading.Lock()
_ANSWERS: dict[tuple[str, int, int, int], str | None] = {}
_PROCESS: dict[int, subprocess.Popen[bytes]] = {}
"""The process of each parent: after a fork, the child starts one of its own."""


def _ask(path: str) -> str | None:
    process = _running()
    if process is None:
        return None
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(path).encode() + b"\n")
        process.stdin.flush()
        answer = _answer(process)
    except OSError:
        answer = None
    if answer == DONE:
        return None
    stop()
    return "it needs more memory than a store does" if answer == TOO_LARGE else "HDF5 does not come to an end with it"


def _answer(process: subprocess.Popen[bytes]) -> str | None:
    """One line; None where none comes, since the process has ended or waits for ever."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(_PATIENCE):
            return None
        return process.stdout.readline().decode().strip() or None


def _running() -> subprocess.Popen[bytes] | None:
    process = _PROCESS.get(os.getpid())
    if process is not None and process.poll() is None:
        return process
    if not sys.executable:
        return None
    source = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "nearsight.operators.hdf5_probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        ready = _answer(process) == DONE
    except OSError:
        return None
    _PROCESS[os.getpid()] = process
    if not ready:
        stop()
        return None
    return process


def stop() -> None:
    """End the process, if one runs; the next file starts another one."""
    process = _PROCESS.pop(os.getpid(), None)
    if process is not None:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


atexit.register(stop)


def _walk(path: str) -> str:
    """Look at everything but the large data, as a reader does."""
    import h5py

    from nearsight.operators.hdf5_content import check_objects, look

    try:
        with h5py.File(path, "r") as file:
            check_objects(file)
            look(file)
    except MemoryError:
        return TOO_LARGE
    except Exception:  # the reader will meet it too, and say so
        return DONE
    return DONE


def _serve() -> None:
    """Answer each path on the standard input with a line, for as long as the parent lives."""
    import resource

    def limited(kind: int, value: int) -> None:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard < 0 else min(value, hard), hard))

    def tell(answer: Any) -> None:
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()

    import nearsight.operators.hdf5_content  # noqa: F401

    limited(resource.RLIMIT_AS, _MEMORY)
    limited(resource.RLIMIT_CORE, 0)
    tell(DONE)
    for line in sys.stdin:
        used, path = resource.getrusage(resource.RUSAGE_SELF), json.loads(line)
        seconds = SECONDS * (1 + os.stat(path).st_size // 10**10)
        limited(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + seconds + 1)
        tell(_walk(path))


if __name__ == "__main__":
    _serve()
