"""Shells in words, such as `2s2p1d`, for files that do not say which there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nearsight.elements import number_of, symbol_of
from nearsight.errors import InputError
from nearsight.formats.options import BasisChoice
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet


def shells_of_words(choice: BasisChoice) -> BasisSet:
    """Return the basis that words describe.

    Parameters
    ----------
    choice : mapping of str to str
        Element symbol → shells, such as ``{"Si": "2s2p1d"}``, in the order of the file.

    Returns
    -------
    BasisSet
        These shells.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if not isinstance(choice, Mapping):
        raise InputError(f"expected the shells of each element, such as Si=2s2p1d, got {choice!r}")
    shells: dict[int, tuple[int, ...]] = {}
    for symbol, words in choice.items():
        z, parts = number_of(symbol), re.findall(rf"(\d{{1,2}})([{SHELL_LETTERS}])", words)
        if z is None or not parts or "".join(n + letter for n, letter in parts) != words:
            raise InputError(f"expected shells such as Si=2s2p1d, got {symbol}={words}")
        shells[z] = tuple(SHELL_LETTERS.index(letter) for n, letter in parts for _ in range(int(n)))
    return BasisSet("given", shells, {})


def asked_for(elements: Iterable[int]) -> str:
    """Return what the option looks like for some elements."""
    return "--basis " + ",".join(f"{symbol_of(z)}=2s2p1d" for z in elements)
