"""A file that takes another's place once it is complete."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nearsight.errors import InputError


class Replacement:
    """A file beside `target`, under another name until `commit`: at no moment is there half a file under its name.

    HDF5 cannot recover from a failed write, so a failure is kept here and what comes after it is dropped; `check`
    raises it. The methods of a file are those that h5py asks of one.

    Raises:
        InputError: no such folder, or nothing can be written there.
    """

    def __init__(self, target: Path) -> None:
        if not target.parent.is_dir():
            raise InputError(f"expected an existing folder for {target}, got none at {target.parent}; make it first")
        self.target, self.place, self.length = target, 0, 0
        self.failure: BaseException | None = None
        try:
            self.handle, self.name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        except OSError as error:
            raise self._explained(error) from error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.length}[whence]
        self.place = start + offset
        return self.place

    def tell(self) -> int:
        """As of any file."""
        return self.place

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        data = os.pread(self.handle, self.length - self.place if size < 0 else size, self.place)
        self.place += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Bytes that were never written, or dropped, are zero."""
        view = memoryview(buffer).cast("B")
        data = os.pread(self.handle, len(view), self.place)
        view[: len(data)] = data
        view[len(data) :] = bytes(len(view) - len(data))
        self.place += len(view)
        return len(view)

    def write(self, buffer: memoryview) -> int:
        """All of it, or after a failure nothing."""
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
        """As of any file."""
        size = self.place if size is None else size
        if self.failure is None:
            try:
                os.ftruncate(self.handle, size)
            except BaseException as error:
                self.failure = error
        self.length = size
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    def check(self) -> None:
        """Raise what a write has met.

        Raises:
            InputError: the disk is full, or the file cannot be written for another reason of the system's.
        """
        if isinstance(self.failure, OSError):
            raise self._explained(self.failure) from self.failure
        if self.failure is not None:
            raise self.failure

    def commit(self) -> None:
        """Take the target's place; after a failure raise it instead.

        Raises:
            InputError: as `check`.
        """
        self.check()
        try:
            os.fsync(self.handle)
            os.chmod(self.name, 0o666 & ~_umask())
            os.replace(self.name, self.target)
        except OSError as error:
            raise self._explained(error) from error
        os.close(self.handle)

    def give_up(self) -> None:
        """What is still written is dropped."""
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
