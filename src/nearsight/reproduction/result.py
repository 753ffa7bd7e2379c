"""Result: what a protocol found, beside what the paper has; it is written as JSON and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes
    ----------
    labels : tuple of str
        What the columns of the table say.
    who : str
        Whose numbers they are: `paper`, a network, DFT.
    values : mapping of str to float
        Numbers by the keys of `measures.MEASURES`.
    row : int
        Which row of the protocol it belongs to.
    """

    labels: tuple[str, ...]
    who: str
    values: Values
    row: int = 0


@dataclass(frozen=True)
class Result:
    """What a protocol found.

    Attributes
    ----------
    name, title, question : str
        Which protocol.
    columns, measures : tuple of str
        Titles of the labels; keys of the numbers.
    lines : tuple of Line
        The table.
    findings : tuple of str
        What follows from the lines, and what the paper says of the same.
    differs : tuple of str
        What differs from the paper.
    missing : tuple of str
        What was left out, and the way to get it.
    conditions : mapping
        Training time, seed, data, version, and whether it was a quick run.
    caption : str
        Of the figure; empty where there is none.
    """

    name: str
    title: str
    question: str
    columns: tuple[str, ...]
    measures: tuple[str, ...]
    lines: tuple[Line, ...]
    findings: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    caption: str = ""

    def tree(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return asdict(self)
