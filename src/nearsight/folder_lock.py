"""A folder in which one process works at a time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearsight.atomic_files import explained
from nearsight.errors import ConfigError

try:
    import fcntl
except ImportError:  # no locks of files on this system
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


@contextmanager
def locked_folder(folder: str | Path, way_out: str = "give another folder") -> Iterator[None]:
    """Keep other processes, and other calls of this one, out of a folder during a `with` block.

    Parameters
    ----------
    folder : str or pathlib.Path
        The folder; made if it is not there.
    way_out : str, optional
        What the error tells the user to do, besides waiting.

    Raises
    ------
    ConfigError
        If another process, or another call in this one, is at work in the folder.
    InputError
        If the folder cannot be made or written.

    Notes
    -----
    The lock is `flock` on the file `.lock`. The system drops it when the process ends, however it ends, so a file that
    was left behind locks nobody out. On NFS before version 4, or mounted with `nolock`, processes on other machines do
    not see the lock; on file systems without locks there is none.
    """
    path = Path(folder)
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
        handle = _locked(path / LOCK_FILE, way_out)
    try:
        _say_who(handle)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path / LOCK_FILE)
        os.close(handle)


def check_free(folder: str | Path, way_out: str = "give another folder") -> None:
    """Refuse a folder in which another process is at work; a folder that is not there is free.

    Parameters
    ----------
    folder : str or pathlib.Path
        The folder. Nothing is written there.
    way_out : str, optional
        As of `locked_folder`.

    Raises
    ------
    ConfigError
        If the folder is locked.
    """
    path = Path(folder) / LOCK_FILE
    if not path.is_file():
        return
    with explained(folder):
        handle = _opened(path)
    try:
        if not _taken(handle):
            raise _is_held(path, way_out)
    finally:
        os.close(handle)


def _is_held(path: Path, way_out: str) -> ConfigError:
    return ConfigError(
        f"expected {path.parent} to be free, got {_holder(path)} at work in it; wait for it, or {way_out}"
    )


def _locked(path: Path, way_out: str) -> int:
    """Open and lock the file, again where the one before has removed it in between."""
    while True:
        handle = _opened(path)
        try:
            if not _taken(handle):
                raise _is_held(path, way_out)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(handle)):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)


def _taken(handle: int) -> bool:
    """Take the lock, unless somebody has it; on a file system without locks there is nobody."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _say_who(handle: int) -> None:
    """Write for others who has the lock; a full disk does not matter here."""
    who = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(who).encode(), 0)


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_bytes()[:1000])
        return f"another nearsight (process {int(who['process'])} on {str(who['host'])[:80]} since {who['since'][:19]})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another nearsight"
