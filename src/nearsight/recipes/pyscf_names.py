"""Names that reach PySCF: of basis sets, pseudopotentials and functionals.

PySCF takes a text in the place of a name, evaluates as Python what is no number in it, and opens a file of that name
where there is one. Names come from files of other people, so only what can be a name is let through, and PySCF's
evaluation is turned off.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from nearsight.elements import number_of
from nearsight.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 +*(),_.@-]{0,98}[A-Za-z0-9+*)])?")
_EVALUATING = ("mole", "basis.parse_nwchem", "basis.parse_nwchem_ecp", "basis.parse_cp2k", "basis.parse_molpro")
"""Modules of `pyscf.gto` that can evaluate texts, unless told not to."""


def checked_name(name: object, what: str) -> str:
    """Return a name that may be given to PySCF.

    Parameters
    ----------
    name : str
        Of a basis, a pseudopotential or a functional.
    what : str
        Which of them, for messages.

    Raises
    ------
    InputError
        Where it is no name (letters, digits and ``+*(),_.@-`` in one line), or a file is called so.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        shown = f"{name!r:.80}"
        raise InputError(f"expected the name of a {what} (letters, digits, + * ( ) , _ . -), got {shown}")
    for found in {name, name.split("@")[0], name[3:] if name.lower().startswith("unc") else name}:
        if Path(found).is_file():
            raise InputError(
                f"expected the name of a {what}, got {name!r}, which is a file here that would be read instead; "
                "rename the file or work in another folder"
            )
    return name


def checked_symbol(symbol: object, what: str) -> str:
    """Return the symbol of an element, maybe followed by digits or a word as PySCF's labels are.

    Raises
    ------
    InputError
        Where it is none.
    """
    if not isinstance(symbol, str) or not symbol.isascii() or not symbol.isalpha() or number_of(symbol) is None:
        raise InputError(f"expected the symbol of an element as {what}, got {symbol!r:.80}")
    return symbol


def forbid_evaluation() -> None:
    """Turn off the evaluation of texts in those modules of PySCF that are imported."""
    for name in _EVALUATING:
        module = sys.modules.get(f"pyscf.gto.{name}")
        if module is not None:
            module.DISABLE_EVAL = True  # type: ignore[attr-defined]
