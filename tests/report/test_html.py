"""Pieces of the page."""

from __future__ import annotations

import math

import pytest

from nearsight.report.html import cards, details, number, prose, section, table


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
    pieces = [table(("<",), [("<", "<")]), cards([("<", "<", "<")]), details("<", ""), section("<")]
    for piece in pieces:
        assert "<<" not in piece
        assert "&lt;" in piece
    assert "thead" not in table((), [("a", "b")])
