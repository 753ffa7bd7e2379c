"""Numbers of CP2K: exponents of Fortran, fractions, products."""

from __future__ import annotations

import pytest

from nearsight.formats.fortran_numbers import parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9.0D1", 90.0),
        ("9.0d+1", 90.0),
        ("1.0E-3", 1e-3),
        ("1/3", 1 / 3),
        ("1.0/3.0", 1 / 3),
        ("2*0.5", 1.0),
        ("-1/2*3", -1.5),
        ("5.", 5.0),
        (".5", 0.5),
        (" +7 ", 7.0),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1_0", "1/0", "1/", "*2", "1e999", "0x10", "1 2", "1e308*9e9"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_number(text)
