"""Files that take another's place once they are complete, so that no half-written file is ever seen under its name.

Everything that is written goes through here: the temporary file lies in the folder of the target, under a name that no
other process has, and is locked while its process lives. What a killed process left behind is therefore known, and
removed by the next one that writes into the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearsight.errors import InputError
from nearsight.output_path import check_output, followed

try:
    import fcntl
except ImportError:  # no locks of files on this system; leftovers are then removed when they are old
    fcntl = None  # type: ignore[assignment]

OLD = 24 * 3600.0
"""Seconds after which a temporary file that no process holds is a leftover, wherever it was made."""

_LONGEST = 80
"""Characters of the target's name in that of a temporary file, so that long names stay possible."""


@contextmanager
def written_atomically(path: str | Path) -> Iterator[Path]:
    """Give the name of a temporary file that takes the place of `path` at the end of the `with` block.

    Until then, and whenever the block is left by an exception (a `KeyboardInterrupt` too), what was at `path` stays as
    it was, and no temporary file is left behind. Symbolic links are followed: the link stays, the file that it leads to
    is replaced.

    Parameters
    ----------
    path : str or pathlib.Path
        The file to write. Its folder must exist.

    Yields
    ------
    pathlib.Path
        An empty file of a random name in the same folder, to be written and closed within the block.

    Raises
    ------
    InputError
        If there is no such folder, the path is a folder or a device, or an `OSError` (a full disk, missing permissions)
        was met within the block.
    """
    check_output(path)
    target = followed(path)
    with explained(path), contextlib.ExitStack() as cleanup:
        temporary = _Temporary(target)
        cleanup.callback(temporary.discard)
        yield temporary.path
        temporary.commit()


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """Turn an `OSError` met within the `with` block into one line that names the file.

    Parameters
    ----------
    path : str or pathlib.Path
        What is written within the block.

    Raises
    ------
    InputError
        If an `OSError` was met.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"expected to write {path}, got: {_reason(error)}; nothing was changed there. "
            "Free some space or give another place"
        ) from error


def _reason(error: OSError) -> str:
    """What the system says, in one line; HDF5 adds lines with its addresses."""
    return os.strerror(error.errno) if error.errno else (str(error).splitlines() or ["an error without words"])[0]


def write_text_atomically(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8 that is there completely or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        The file to write. Its folder must exist.
    text : str
        Its content.

    Raises
    ------
    InputError
        If it cannot be written; an older file of the name is left as it was.
    """
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a text file, whole or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; made if it is not there.
    line : str
        The line, without its end.

    Raises
    ------
    InputError
        If it cannot be written; what was in the file stays.
    """
    data = (line + "\n").encode()
    with explained(path), open(path, "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        try:
            written = file.write(data)
            while written < len(data):
                written += file.write(data[written:])
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise


def remove_leftovers(folder: str | Path) -> None:
    """Remove temporary files of processes that ended before their file was complete.

    A file is a leftover if it has the name of a temporary file of this module, no process of this machine holds its
    lock, and it was made on this machine or is older than a day. Files of processes at work, here and on other machines
    that share the folder, stay.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where to look; folders within it are not looked into.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found and entry.is_file(follow_symlinks=False):
                _remove_if_left(entry, here=found["host"] == _host())


class Replacement:
    """A file object beside a target that takes its place at `commit`, for HDF5.

    At no moment is there half a file under the target's name. HDF5 cannot recover from a failed write, so a failure is
    kept here and whatever is written after it is dropped; `check` raises it. The methods are those that h5py asks of a
    file.

    Parameters
    ----------
    target : pathlib.Path
        The file whose place is to be taken. Its folder must exist.

    Raises
    ------
    InputError
        If there is no such folder, or nothing can be written there.
    """

    def __init__(self, target: Path) -> None:
        check_output(target)
        self.target, self.place, self.length = followed(target), 0, 0
        self.failure: BaseException | None = None
        try:
            self._temporary = _Temporary(self.target)
        except OSError as error:
            raise self._explained(error) from error
        self.handle, self.name = self._temporary.handle, str(self._temporary.path)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place in the file, as `io.IOBase.seek` does, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.length}[whence]
        self.place = start + offset
        return self.place

    def tell(self) -> int:
        """Return the place in the file, as `io.IOBase.tell` does."""
        return self.place

    def read(self, size: int = -1) -> bytes:
        """Read from the place in the file, as `io.RawIOBase.read` does."""
        data = os.pread(self.handle, self.length - self.place if size < 0 else size, self.place)
        self.place += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer from the place in the file; bytes that were never written, or were dropped, are zero."""
        view = memoryview(buffer).cast("B")
        data = os.pread(self.handle, len(view), self.place)
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        self.place += len(view)
        return len(view)

    def write(self, buffer: memoryview) -> int:
        """Write all of a buffer, or nothing after an earlier failure, and return its length."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self.failure is None:
            try:
                done += os.pwrite(self.handle, view[done:], self.place + done)
            except BaseException as error:
                self.failure = error
        self.place += len(view)
        self.length = max(self.length, self.place)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length of the file, as `io.IOBase.truncate` does, and return it."""
        size = self.place if size is None else size
        if self.failure is None:
            try:
                os.ftruncate(self.handle, size)
            except BaseException as error:
                self.failure = error
        self.length = size
        return size

    def flush(self) -> None:
        """Do nothing, for nothing is held back."""

    def check(self) -> None:
        """Raise what an earlier write has met.

        Raises
        ------
        InputError
            If the disk is full, or the system does not let the file be written for another reason.
        """
        if isinstance(self.failure, OSError):
            raise self._explained(self.failure) from self.failure
        if self.failure is not None:
            raise self.failure

    def commit(self) -> None:
        """Let the file take the target's place, or raise an earlier failure instead.

        Raises
        ------
        InputError
            As in `check`.
        """
        self.check()
        try:
            self._temporary.commit()
        except OSError as error:
            raise self._explained(error) from error

    def give_up(self) -> None:
        """Drop whatever is still going to be written."""
        self.failure = self.failure or InputError(f"expected a file under construction, got {self.name}, given up")

    def discard(self) -> None:
        """Remove the file; what was at the target stays."""
        self._temporary.discard()

    def _explained(self, error: OSError) -> InputError:
        return InputError(
            f"expected to write at least {self.length / 1e6:.1f} MB to {self.target}, got: {error.strerror}; "
            "nothing was changed there. Free some space or give another place"
        )


class _Temporary:
    """A locked file of a random name beside a target."""

    def __init__(self, target: Path) -> None:
        self.target = target
        remove_leftovers(target.parent)
        while True:
            prefix = f".{_short(target.name)}.nearsight-{_host()}-"
            self.handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=".tmp")
            self.path = Path(name)
            try:
                _lock(self.handle)
                if self._is_there():
                    return
            except BaseException:
                self.discard()
                raise
            os.close(self.handle)  # another process took it for a leftover before it was locked

    def commit(self) -> None:
        """Take the target's place, with the mode that a file opened the usual way would have."""
        # By name: a library that was given the name may have replaced the file instead of filling it.
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.chmod(0o666 & ~_umask())
        os.replace(self.path, self.target)
        self._close()
        _sync_folder(self.target.parent)

    def discard(self) -> None:
        """Remove the file, unless it has taken the target's place."""
        if self.handle >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._close()

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.handle))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        handle, self.handle = self.handle, -1
        with contextlib.suppress(OSError):
            os.close(handle)


_UMASK = threading.Lock()
_TEMPORARY = re.compile(r"\..+\.nearsight-(?P<host>[0-9a-f]{8})-[0-9a-z_]{8}\.tmp")


def _short(name: str) -> str:
    return name[:_LONGEST].encode()[: 2 * _LONGEST].decode(errors="ignore") if name.isprintable() else "file"


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode(errors="replace")).hexdigest()[:8]


def _lock(handle: int) -> None:
    """Hold a file until it is closed, by whatever end of the process."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)  # waits a moment for one who takes the file for a leftover


def _remove_if_left(entry: os.DirEntry[str], *, here: bool) -> None:
    old = time.time() - entry.stat(follow_symlinks=False).st_mtime > OLD
    if not old and (fcntl is None or not here):
        return
    with contextlib.suppress(OSError):
        handle = os.open(entry.path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_ISREG(os.fstat(handle).st_mode):
                os.unlink(entry.path)
        finally:
            os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Let the new name survive a power failure, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    with _UMASK:  # it can only be read by setting it
        mask = os.umask(0)
        os.umask(mask)
        return mask
