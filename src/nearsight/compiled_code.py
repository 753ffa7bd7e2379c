"""Functions compiled by numba whose machine code is kept on disk so that wrong code is never loaded.

numba writes its index before the code, under names that it uses again. A process that is killed between the two, a full
disk, or two processes at once leave an index that leads to the code of other types of arguments: a TypeError in every
later run, or worse. Here the code is written first, under a name that says what it is, and then the index.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba


def compiled_with(function: Callable[..., Any], folders: tuple[Path, ...], **options: Any) -> Callable[..., Any]:
    """Compile a function to machine code, which is kept on disk where a folder can be written.

    Parameters
    ----------
    function : callable
        A function that numba can compile.
    folders : tuple of pathlib.Path
        Where the sources of the functions lie that it inlines; its own folder is always looked at.
    **options
        Of `numba.njit`.

    Returns
    -------
    callable
        The compiled function; it is compiled anew when a source file in any of the folders changes.
    """
    try:
        result: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache
        uncached: Any = numba.njit(**options)(function)
        return uncached
    # numba takes kept code for fresh as long as the function's own file is; ours inlines functions of others.
    sources = digest_of(Path(function.__code__.co_filename).parent, *folders)
    kept: Any = result._cache._cache_file
    kept._source_stamp = (kept._source_stamp, sources)
    kept.save = _code_first(kept)
    result._cache.save_overload = _unless_it_fails(result._cache.save_overload)
    return result


def _code_first(kept: Any) -> Callable[[Any, Any], None]:
    def save(key: Any, code: Any) -> None:
        said = hashlib.sha256(repr((key, kept._version, kept._source_stamp)).encode()).hexdigest()[:16]
        name = f"{Path(kept._index_name).stem}.{said}.nbc"
        kept._save_data(name, code)
        index = kept._load_index()
        if index.get(key) != name:
            kept._save_index({**index, key: name})

    return save


def _unless_it_fails(save: Callable[..., None]) -> Callable[..., None]:
    """Let work go on where compiled code cannot be kept, such as on a full disk."""

    def tolerant(*arguments: Any) -> None:
        with contextlib.suppress(OSError):
            save(*arguments)

    return tolerant


@cache
def digest_of(*folders: Path) -> str:
    """Return a SHA-256 digest (hexadecimal) of the Python sources in some folders."""
    digest = hashlib.sha256()
    for source in sorted({path for folder in folders for path in folder.glob("*.py")}):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()
