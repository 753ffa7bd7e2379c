"""What a page is made of - sections, text, tables, drawings - and how templates make one HTML file of it.

The templates and the style sheet are in `assets/`. They escape every text; nothing that is loaded from elsewhere is in
them.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from nearsight.report.style import data_uri
from nearsight.version import __version__

PIXELS_PER_INCH = 96
_SUBSCRIPT = re.compile(r"(ε|E)_(n|e|tot|h|pred|ref)\b")


class Block:
    """Something that is shown on a page; `form` is the name of its macro in `assets/blocks.html.jinja`."""

    form: ClassVar[str]


@dataclass(frozen=True, eq=False)
class Section(Block):
    """A titled part of the page.

    Attributes
    ----------
    title : str
        The title.
    content : sequence of Block
        What is in it, from top to bottom.
    """

    form: ClassVar[str] = "section"
    title: str
    content: Sequence[Block] = ()


@dataclass(frozen=True)
class Heading(Block):
    """A smaller title inside a section."""

    form: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph of text; `kind` is its class in the style sheet, such as `note`."""

    form: ClassVar[str] = "paragraph"
    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table(Block):
    """A table; the first column is on the left, the others on the right.

    Attributes
    ----------
    head : sequence of str
        The titles of the columns; empty for a table without.
    rows : sequence of sequence of str
        The cells.
    kind : str
        Its class in the style sheet: `facts` for names and texts.
    """

    form: ClassVar[str] = "table"
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = ""


@dataclass(frozen=True, eq=False)
class Drawing(Block):
    """A figure inside the page, at most as wide as it was made.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    title : str
        What it shows, for those who do not see it.
    caption : str
        What it shows and how to read it.
    """

    form: ClassVar[str] = "drawing"
    figure: Figure
    title: str
    caption: str

    @property
    def source(self) -> str:
        """The figure as a `data:` address."""
        return data_uri(self.figure)

    @property
    def width(self) -> int:
        """The width that it was made with, in pixels."""
        return round(self.figure.get_figwidth() * PIXELS_PER_INCH)


@dataclass(frozen=True)
class Picture(Block):
    """A figure that was drawn before, as the bytes of a PNG.

    Attributes
    ----------
    png : bytes
        The file.
    title : str
        What it shows, for those who do not see it.
    caption : str
        What it shows and how to read it.
    width : int
        The width at most, in pixels.
    """

    form: ClassVar[str] = "drawing"
    png: bytes
    title: str
    caption: str
    width: int = 1000

    @property
    def source(self) -> str:
        """The figure as a `data:` address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Cards(Block):
    """The numbers that matter most: name, value and remark of each."""

    form: ClassVar[str] = "cards"
    entries: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, eq=False)
class Details(Block):
    """Content that opens with a click on its summary."""

    form: ClassVar[str] = "details"
    summary: str
    content: Sequence[Block] = ()


@dataclass(frozen=True)
class Preformatted(Block):
    """Text that is shown as it is, such as a configuration."""

    form: ClassVar[str] = "preformatted"
    text: str


@dataclass(frozen=True)
class Terms(Block):
    """Terms and what they mean."""

    form: ClassVar[str] = "terms"
    entries: Sequence[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class StructureBlock(Block):
    """The structure in 3D; a page may have one.

    Attributes
    ----------
    formula : str
        The formula, for those who do not see it.
    data : mapping
        What `assets/structure_view.js` draws; `structure_view` makes it.
    """

    form: ClassVar[str] = "structure"
    formula: str
    data: Mapping[str, Any]


def document(title: str, subtitle: str, content: Sequence[Block]) -> str:
    """Return the HTML text of a whole page, which loads nothing.

    Parameters
    ----------
    title, subtitle : str
        The lines at the top.
    content : sequence of Block
        What is below, sections above all.
    """
    template = _environment().get_template("page.html.jinja")
    return template.render(title=title, subtitle=subtitle, content=content, version=__version__) + "\n"


def block_html(block: Block) -> str:
    """Return the HTML text of one block."""
    macros: Any = _environment().get_template("blocks.html.jinja").module
    return str(macros.show(block))


def prose(text: str) -> Markup:
    """Return escaped text in which ε_n, ε_tot, mE_h and the like have their subscripts."""
    return Markup(_SUBSCRIPT.sub(r"\1<sub>\2</sub>", str(escape(text))))


def number(value: float, form: str, unit: str = "") -> str:
    """Return a formatted number with its unit; a dash where there is none.

    Parameters
    ----------
    value : float
        The number; NaN and infinity stand for none.
    form : str
        The format, such as `.3f`.
    unit : str, optional
        What follows it.
    """
    if not math.isfinite(value):
        return "–"
    text = f"{value:{form}}"
    return f"{'−' + text[1:] if text[0] == '-' else text} {unit}".rstrip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("nearsight.report", "assets"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["prose"] = prose
    environment.globals["asset"] = _asset
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


@cache
def _asset(name: str) -> Markup:
    """Return a file of `assets/` as it is, fit for the inside of a script or style element."""
    text = files("nearsight.report").joinpath("assets", name).read_text(encoding="utf-8")
    return Markup(text.replace("</script", "<\\/script"))
