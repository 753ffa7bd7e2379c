"""The lines of a CP2K input as CP2K's parser sees them.

Comments are gone, `@INCLUDE`, `@SET`, `@IF … @ENDIF` and `${VARIABLE}` are carried out, and lines that end in a
backslash are joined with the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nearsight.errors import FormatError

_VARIABLE = re.compile(r"\$\{(\w+)(?:-([^}]*))?\}|\$(\w+)")
DEEPEST = 20
"""Files within files; more is a loop."""
LONGEST = 20_000_000
"""Bytes of an input or of a file that it includes."""
_IGNORED = ("@PRINT", "@FFTYPE", "@XCTYPE")
"""Directives that change neither atoms nor their orbitals."""


def input_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of an input that mean something.

    Parameters
    ----------
    path : pathlib.Path
        The input.

    Yields
    ------
    where : str
        File and line, for messages.
    text : str
        The line, without comment and without spaces at its ends.

    Raises
    ------
    FormatError
        If a directive cannot be carried out: a file is missing or includes itself, a variable is not set, a condition
        is not closed, or the directive is not known.
    """
    joined, began = "", ""
    for where, text in _Preprocessor(path).lines(path, 0):
        began = began or where
        joined = f"{joined} {text}".strip()
        if joined.endswith("\\"):
            joined = joined[:-1].rstrip()
            continue
        if joined:
            yield began, joined
        joined, began = "", ""
    if joined:
        yield began, joined


class _Preprocessor:
    """The variables and open conditions of one input."""

    def __init__(self, path: Path) -> None:
        self._path, self._variables = path, dict[str, str]()
        self._conditions: list[bool] = []

    def lines(self, path: Path, depth: int) -> Iterator[tuple[str, str]]:
        """(place, text) of every line that is not empty, a comment, a directive or left out by one."""
        before = len(self._conditions)
        for number, line in enumerate(_text(path).splitlines(), 1):
            text = re.split("[#!]", line, maxsplit=1)[0].replace("\t", " ").strip()
            where = f"{path.name}, line {number}"
            if not text or not self._takes(path, where, text):
                continue
            text = self._substituted(path, where, text)
            if not text.startswith("@"):
                yield where, text
                continue
            directive, _, rest = text.partition(" ")
            if directive.upper() == "@INCLUDE":
                if depth == DEEPEST:
                    raise FormatError(path, f"expected at most {DEEPEST} files within files, got more ({where})")
                yield from self.lines(self._included(path, where, rest.strip().strip("'\"")), depth + 1)
            elif directive.upper() == "@SET":
                name, _, value = rest.strip().partition(" ")
                self._variables[name.upper()] = value.strip()
            elif directive.upper() not in _IGNORED:
                raise FormatError(
                    path, f"expected @INCLUDE, @SET, @IF or @ENDIF in {where}, got {directive}, which is not read"
                )
        if len(self._conditions) != before:
            raise FormatError(path, "expected @ENDIF for every @IF before the end of the file, got one without")

    def _takes(self, path: Path, where: str, text: str) -> bool:
        """Carry out conditions; whether this line counts and is none of them."""
        word = re.match(r"@\w*", text)
        directive = word[0].upper() if word else ""
        if directive == "@IF":
            self._conditions.append(all(self._conditions) and self._holds(path, where, text[3:]))
        elif directive == "@ENDIF":
            if not self._conditions:
                raise FormatError(path, f"expected @IF before @ENDIF in {where}, got none")
            self._conditions.pop()
        return directive not in ("@IF", "@ENDIF") and all(self._conditions)

    def _holds(self, path: Path, where: str, condition: str) -> bool:
        text = self._substituted(path, where, condition).strip()
        if text.startswith("(") and text.endswith(")"):
            text = text[1:-1].strip()
        for sign, wanted in (("==", True), ("/=", False)):
            if sign in text:
                left, _, right = text.partition(sign)
                return (left.strip() == right.strip()) is wanted
        if re.fullmatch(r"\S*", text):
            return text not in ("", "0")
        raise FormatError(path, f"expected `@IF value`, `@IF a == b` or `@IF a /= b` in {where}, got {text!r}")

    def _included(self, path: Path, where: str, name: str) -> Path:
        """CP2K looks in the folder it runs in, which is the input's; a nested one may lie beside its includer."""
        folder = self._path.parent
        for candidate in (folder / name, path.parent / name):
            if candidate.is_file():
                return candidate
        raise FormatError(
            path, f"expected the included file {name!r} ({where}) in {folder}, got none there; copy it there"
        )

    def _substituted(self, path: Path, where: str, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            name = (found[1] or found[3]).upper()
            if name in self._variables:
                return self._variables[name]
            if found[2] is not None:
                return found[2]
            raise FormatError(path, f"expected @SET {name} before its use in {where}, got none")

        return _VARIABLE.sub(value, text)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LONGEST:
            raise FormatError(path, f"expected a CP2K input of at most {LONGEST} bytes, got a longer file")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FormatError(path, f"expected a CP2K input or a file that it includes, got: {error.strerror}") from error
