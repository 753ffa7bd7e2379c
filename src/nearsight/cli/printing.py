"""What commands print: names of files, elements, messages of others as they are, never read as markup.

Every command prints through here. Square brackets are text, also in tables and beside bars; characters that steer a
terminal are shown and not obeyed.
"""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import Task, TextColumn
from rich.text import Text

from nearsight.errors import InputError

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text after them."""


class Terminal(Console):
    """A console on standard output or standard error for which no text is markup.

    Parameters
    ----------
    stderr : bool, optional
        Whether it is standard error.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return the text that is printed for a string, as `rich.console.Console.render_str` does."""
        return super().render_str(visible(text), **settings)


class Words(TextColumn):
    """Text beside a bar: a format of `task`, whose fields are no markup.

    Parameters
    ----------
    text : str
        The format, such as ``"{task.description}"``.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False)

    def render(self, task: Task) -> Text:
        """Return the text of a task."""
        return Text(visible(self.text_format.format(task=task)), style=self.style, justify=self.justify)


def say(console: Console, text: object, style: str = "") -> None:
    """Print a line as it is: brackets are no markup, and long lines are not broken.

    Parameters
    ----------
    console : Console
        Where.
    text : object
        The line, or what becomes one, such as a path.
    style : str, optional
        Colour and weight of the whole line.
    """
    console.print(Text(visible(str(text)), style=style), soft_wrap=True)


def show(console: Console, what: RenderableType, *, soft_wrap: bool = False) -> None:
    """Print a table or another thing made of lines, whose text is no markup.

    Parameters
    ----------
    console : Console
        Where.
    what : renderable
        The table.
    soft_wrap : bool, optional
        Whether long lines are not broken.
    """
    console.print(what, markup=False, highlight=False, emoji=False, soft_wrap=soft_wrap)


def echo(text: str) -> None:
    """Write text for programs, such as JSON, to standard output; it is not looked into, however long it is.

    Parameters
    ----------
    text : str
        The text, without the end of its last line.

    Raises
    ------
    InputError
        If standard output cannot be written, such as a file on a full disk.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"standard output: expected to write it, got: {error.strerror}") from error


def visible(text: str) -> str:
    """Return a text in which characters that are no text, or steer a terminal, are written as escapes."""
    if text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if character in "\n\t":
        return character
    if character in _TURNING or unicodedata.category(character) in ("Cc", "Cs"):
        return character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else repr(character)[1:-1]
    return character
