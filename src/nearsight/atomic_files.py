"""Files that take another's place once they are complete, so that no half-written file is ever seen under its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearsight.errors import InputError


@contextmanager
def written_atomically(path: str | Path) -> Iterator[Path]:
    """Give the name of a temporary file that takes the place of `path` at the end of the `with` block.

    Until then, and whenever the block is left by an exception (a `KeyboardInterrupt` too), what was at `path` stays as
    it was, and no temporary file is left behind.

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
        If there is no such folder, or an `OSError` (a full disk, missing permissions) was met within the block.
    """
    target = Path(path)
    _check_folder(target)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        _take_place(temporary, target)
    except OSError as error:
        raise InputError(
            f"expected to write {target}, got: {error.strerror or error}; nothing was changed there. "
            "Free some space or give another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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
        _check_folder(target)
        self.target, self.place, self.length = target, 0, 0
        self.failure: BaseException | None = None
        try:
            self.handle, self.name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        except OSError as error:
            raise self._explained(error) from error

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
            os.fsync(self.handle)
            _take_place(Path(self.name), self.target)
        except OSError as error:
            raise self._explained(error) from error
        os.close(self.handle)

    def give_up(self) -> None:
        """Drop whatever is still going to be written."""
        self.failure = self.failure or InputError(f"expected a file under construction, got {self.name}, given up")

    def discard(self) -> None:
        """Remove the file; what was at the target stays."""
        os.close(self.handle)
        Path(self.name).unlink(missing_ok=True)

    def _explained(self, error: OSError) -> InputError:
        return InputError(
            f"expected to write at least {self.length / 1e6:.1f} MB to {self.target}, got: {error.strerror}; "
            "nothing was changed there. Free some space or give another place"
        )


def _check_folder(target: Path) -> None:
    if not target.parent.is_dir():
        raise InputError(f"expected an existing folder for {target}, got none at {target.parent}; make it first")


def _take_place(temporary: Path, target: Path) -> None:
    """Rename a finished file, with the mode that a file opened the usual way would have."""
    temporary.chmod(0o666 & ~_umask())
    os.replace(temporary, target)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
