"""Pieces of the page."""

from __future__ import annotations

import math

import pytest

from nearsight.report.html import (
    Cards,
    Details,
    Heading,
    Paragraph,
    Preformatted,
    Section,
    Table,
    Terms,
    block_html,
    document,
    number,
    prose,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ε_n in mE_h", "ε<sub>n</sub> in mE<sub>h</sub>"),
        ("ε_tot", "ε<sub>tot</sub>"),
        ("‖E_pred − E_ref‖", "‖E<sub>pred</sub> − E<sub>ref</sub>‖"),
        ("EPS_SCF, a_b, E_nergy", "EPS_SCF, a_b, E_nergy"),
        ("<script>&", "&lt;script&gt;&amp;"),
    ],
)
def test_prose(text, shown):
    assert prose(text) == shown


@pytest.mark.parametrize(
    ("value", "form", "unit", "shown"),
    [
        (1.23456, ".2f", "eV", "1.23 eV"),
        (-1.5, "+.1f", "meV", "−1.5 meV"),
        (1.5, "+.1f", "meV", "+1.5 meV"),
        (2e-5, ".1e", "", "2.0e-05"),
        (math.nan, ".2f", "eV", "–"),
        (math.inf, ".2f", "eV", "–"),
    ],
)
def test_number(value, form, unit, shown):
    assert number(value, form, unit) == shown


def test_text_is_escaped_everywhere():
    blocks = [
        Table(("<",), [("<", "<")]),
        Cards([("<", "<", "<")]),
        Details("<", (Preformatted("<"),)),
        Section("<", (Heading("<"), Paragraph("<", "note"))),
        Terms([("<", "<")]),
    ]
    for block in blocks:
        text = block_html(block)
        assert "<<" not in text
        assert "><" in text
        assert text.count("&lt;") == {Table: 3, Cards: 3, Details: 2, Section: 3, Terms: 2}[type(block)]
    page = document("<b>", "<i>", blocks)
    assert "<title>&lt;b&gt;</title>" in page
    assert '<p class="lead">&lt;i&gt;</p>' in page


def test_a_table_without_titles_has_no_head():
    assert "thead" not in block_html(Table((), [("a", "b")]))
    assert block_html(Table((), [("a", "b")])).count("<td>") == 2


def test_blocks_are_nested_in_their_order():
    section = Section("Outer", (Paragraph("first"), Details("second", (Paragraph("third"), Heading("fourth")))))
    text = block_html(section)
    assert [text.index(word) for word in ("Outer", "first", "second", "third", "fourth")] == sorted(
        text.index(word) for word in ("Outer", "first", "second", "third", "fourth")
    )
    assert text.startswith("<section><h2>Outer</h2>")
    assert text.endswith("<h3>fourth</h3></details></section>")
