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
_IGNORED = ("@", "@PRINT", "@FFTYPE", "@XCTYPE")
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
    """The variables of one input."""

    def __init__(self, path: Path) -> None:
        self._path, self._variables = path, dict[str, str]()

    def lines(self, path: Path, depth: int) -> Iterator[tuple[str, str]]:
        """(place, text) of every line that is not empty, a comment, a directive or left out by one.

        As in CP2K, a condition that does not hold ends at the next @ENDIF, also where it has another @IF inside; other
        @ENDIF mean nothing.
        """
        left_out = False
        for number, line in enumerate(_text(path).splitlines(), 1):
            line = line.replace("\t", " ").strip()
            where = f"{path.name}, line {number}"
            directive = _directive(line)
            if left_out:
                left_out = "@ENDIF" not in directive
            elif directive == "@IF":
                left_out = not self._holds(path, where, line[3:])
            elif directive != "@ENDIF":
                yield from self._taken(path, where, line, depth)
        if left_out:
            raise FormatError(path, "expected @ENDIF for every @IF before the end of the file, got one without")

    def _taken(self, path: Path, where: str, line: str, depth: int) -> Iterator[tuple[str, str]]:
        """What a line is worth that no condition leaves out."""
        text, comment = _cut(line)
        text = _cut(self._substituted(path, where, text))[0]
        if not text.startswith("@"):
            if text:
                yield where, text
            return
        directive, _, rest = text.partition(" ")
        if directive.upper() == "@INCLUDE":
            if depth == DEEPEST:
                raise FormatError(path, f"expected at most {DEEPEST} files within files, got more ({where})")
            yield from self.lines(self._included(path, where, rest.strip().strip("'\"")), depth + 1)
        elif directive.upper() == "@SET":
            name, _, value = rest.strip().partition(" ")
            self._variables[name] = value.strip() + (" !" if comment else "")  # a comment is part of the value
        elif directive.upper() not in _IGNORED:
            raise FormatError(
                path, f"expected @INCLUDE, @SET, @IF or @ENDIF in {where}, got {directive}, which is not read"
            )

    def _holds(self, path: Path, where: str, condition: str) -> bool:
        """Whether a condition holds, by CP2K's rules: texts are compared with all that follows in their line."""
        text = self._substituted(path, where, condition).strip()
        signs = [sign for sign in ("==", "/=") if sign in text]
        if not signs:
            return text not in ("", "0")
        left, _, right = text.partition(signs[0])
        left, right = left.partition("(")[2] if "(" in left else left, right.partition(")")[0]
        if len(signs) > 1 or signs[0] in right or not right.strip():
            raise FormatError(path, f"expected `@IF value`, `@IF a == b` or `@IF a /= b` in {where}, got {text!r}")
        return (left.strip() == right.strip()) is (signs[0] == "==")

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
            name = found[1] or found[3]
            if name in self._variables:
                return self._variables[name]
            if found[2] is not None:
                return found[2]
            raise FormatError(path, f"expected @SET {name} before its use in {where}, got none")

        return _VARIABLE.sub(value, text)


def _directive(line: str) -> str:
    """The directive of a line, in capitals; empty where there is none, or it is in a comment."""
    found = re.match(r"[^#!@]*(@\S*)", line)
    return found[1].upper() if found else ""


def _cut(line: str) -> tuple[str, bool]:
    """A line without its comment, and whether it had one."""
    text = re.split("[#!]", line, maxsplit=1)
    return text[0].strip(), len(text) > 1


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LONGEST:
            raise FormatError(path, f"expected a CP2K input of at most {LONGEST} bytes, got a longer file")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FormatError(path, f"expected a CP2K input or a file that it includes, got: {error.strerror}") from error
