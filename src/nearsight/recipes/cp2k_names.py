"""Names that reach an input of CP2K: one word each, so that a campaign of someone else adds no lines to it.

CP2K's parser takes what follows a line end as further keywords, `@` as a directive, `$` as a variable, `&` as a
section; so a name with a line end could include any file or write to any place.
"""

from __future__ import annotations

import re

from nearsight.elements import number_of
from nearsight.errors import InputError

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9+*(),_.-]{0,79}")
_PATH = re.compile(r"[^\s\x00-\x1f\x7f\"'$#!&@\\`]{1,1000}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029$]|^\s*[@&]")


def checked_word(name: str, what: str) -> str:
    """Return a name of CP2K's data files: of a basis or a potential.

    Parameters
    ----------
    name : str
        The name.
    what : str
        Which of them, for messages.

    Raises
    ------
    InputError
        Where it is not one word of letters, digits and ``+*(),_.-``.
    """
    if not _WORD.fullmatch(name):
        raise InputError(
            f"expected the name of a {what} (one word of letters, digits, + * ( ) , _ . -), got {name!r:.80}"
        )
    return name


def checked_path(name: str, what: str) -> str:
    """Return a file name that may stand in CP2K's input.

    Parameters
    ----------
    name : str
        A name in CP2K's data folder, or a path.
    what : str
        Which file it is, for messages.

    Raises
    ------
    InputError
        Where it has spaces, quotes or a sign that CP2K's parser takes for its own.
    """
    if not _PATH.fullmatch(name):
        raise InputError(f"expected the name of a {what} without spaces, quotes and $ # ! & @ \\, got {name!r:.80}")
    return name


def checked_element(symbol: str, what: str) -> str:
    """Return the symbol of an element, or `X` of a ghost.

    Parameters
    ----------
    symbol : str
        The symbol.
    what : str
        Where it stands, for messages.

    Raises
    ------
    InputError
        Where it is none.
    """
    if not symbol.isascii() or not symbol.isalpha() or (symbol != "X" and number_of(symbol) is None):
        raise InputError(f"expected the symbol of an element as {what}, got {symbol!r:.80}")
    return symbol


def checked_line(text: str) -> str:
    """Return a keyword or its value, where CP2K's parser takes it for nothing else.

    Parameters
    ----------
    text : str
        What stands in one line of an input.

    Raises
    ------
    InputError
        Where it has a line end or a variable, or begins as a directive or a section.
    """
    if _UNSAFE.search(text):
        raise InputError(f"expected a plain word or number for CP2K's input, got {text!r:.80}")
    return text
