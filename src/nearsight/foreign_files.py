"""The boundary to files of others: only regular files are opened, and whatever is met in one becomes an error of ours.

Readers below the boundary say what they expect. What none of them thought of (a `TypeError` of a library, a
`RecursionError`, memory that is not there) is caught here, once, and named with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nearsight.errors import FormatError, InputError, NearsightError

Wrapped = Callable[[object, str], NearsightError]
"""Makes an error of a path and a message."""

INFLATION = 200
"""Declared bytes per stored byte of a whole file. Numbers shrink to a half, indices to a hundredth."""
ALWAYS = 1 << 28
"""Declared bytes that any file may have."""
LARGEST_TEXT = 1 << 30
"""Bytes of a text that is read at once."""
LONGEST_LINE = 1 << 20


@contextmanager
def reading(path: str | Path, expected: str, wrapped: Wrapped = FormatError) -> Iterator[None]:
    """Turn any exception of the `with` block into an error of nearsight's that names the file.

    Parameters
    ----------
    path : str or pathlib.Path
        What is read.
    expected : str
        What it should be, in words.
    wrapped : callable, default FormatError
        Makes the error of a path and a message.

    Raises
    ------
    NearsightError
        Errors of nearsight's pass; an InputError that does not name the file is given its name.
    """
    try:
        yield
    except FormatError:
        raise
    except InputError as error:
        if str(path) in str(error):
            raise
        raise wrapped(path, str(error)) from error
    except NearsightError:
        raise
    except MemoryError as error:
        raise wrapped(path, f"expected {expected} that fits into memory, got one that does not ({error})") from error
    except RecursionError as error:
        raise wrapped(path, f"expected {expected}, got one that is nested too deeply") from error
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise wrapped(
            path, f"expected {expected}, got a file that cannot be read as one ({type(error).__name__}: {said:.200})"
        ) from error


def require_readable(path: str | Path, expected: str, wrapped: Wrapped = FormatError) -> None:
    """Check that a path is a regular file or a folder, if there is anything at all; a pipe would be waited for.

    Parameters
    ----------
    path : str or pathlib.Path
        Any path.
    expected : str
        What it should be, in words.
    wrapped : callable, default FormatError
        Makes the error of a path and a message.

    Raises
    ------
    NearsightError
        For a pipe, a socket or a device, and for a path that cannot be one.
    """
    try:
        there = Path(path).exists()
        good = not there or Path(path).is_file() or Path(path).is_dir()
    except (OSError, ValueError) as error:
        raise wrapped(path, f"expected {expected}, got: {error}") from error
    if not good:
        raise wrapped(path, f"expected {expected}, got a pipe, a socket or a device")


def file_if_there(path: Path, expected: str, wrapped: Wrapped = FormatError) -> Path | None:
    """Return a path of which a calculation may do without, if there is anything; what is no file is not passed over.

    Parameters
    ----------
    path : pathlib.Path
        Any path.
    expected : str
        What it should be, in words.
    wrapped : callable, default FormatError
        Makes the error of a path and a message.

    Returns
    -------
    pathlib.Path or None
        The path; None where there is nothing.

    Raises
    ------
    NearsightError
        For a link that leads nowhere, a folder, a pipe, a socket or a device.
    """
    if path.is_file():
        return path
    require_readable(path, expected, wrapped)
    if path.is_dir() or path.is_symlink():
        got = "a folder" if path.is_dir() else "a link that leads nowhere"
        raise wrapped(path, f"expected {expected}, got {got}; remove it, or put the file there")
    return None


def read_text(
    path: str | Path,
    expected: str,
    *,
    largest: int = LARGEST_TEXT,
    any_encoding: bool = False,
    wrapped: Wrapped = FormatError,
) -> str:
    """Read a text file in UTF-8 whose size and lines are those of a text.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    expected : str
        What it should be, in words.
    largest : int
        Most bytes.
    any_encoding : bool, default False
        Whether characters that are not UTF-8 are replaced instead of refused.
    wrapped : callable, default FormatError
        Makes the error of a path and a message.

    Returns
    -------
    str
        Its content, with lines that end in a line feed alone.

    Raises
    ------
    NearsightError
        If it is no regular file, too large, no text, or a line is longer than `LONGEST_LINE`.
    """
    if not Path(path).is_file():
        require_readable(path, expected, wrapped)
        raise wrapped(path, f"expected {expected}, got {'a folder' if Path(path).is_dir() else 'no such file'}")
    with reading(path, expected, wrapped):
        size = Path(path).stat().st_size
        if size > largest:
            raise wrapped(path, f"expected {expected} of at most {largest / 1e6:.0f} MB, got {size / 1e6:.0f} MB")
        raw = Path(path).read_bytes()
        if b"\0" in raw:
            raise wrapped(path, f"expected {expected}, got a binary file")
        try:
            text = raw.decode("utf-8-sig", "replace" if any_encoding else "strict")
        except UnicodeDecodeError as error:
            raise wrapped(
                path, f"expected {expected} in UTF-8, got byte {error.start} that is not ({error})"
            ) from error
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    longest = max(map(len, text.splitlines()), default=0)
    if longest > LONGEST_LINE:
        raise wrapped(path, f"expected {expected}, got a line of {longest} characters")
    return text
