"""What --json prints is JSON for every reader."""

from __future__ import annotations

import json
import math

from nearsight.api.numbers import spectrum_numbers
from nearsight.cli.output import json_text
from nearsight.electronic.eigen import solve


def test_numbers_that_do_not_exist_are_null():
    tree = {"a": math.nan, "b": [1.5, math.inf, {"c": -math.inf}], "d": "text", "e": None, "f": True}
    assert json.loads(json_text(tree)) == {"a": None, "b": [1.5, None, {"c": None}], "d": "text", "e": None, "f": True}


def test_full_levels_have_no_gap():
    """One level, two electrons."""
    numbers = json.loads(json_text(spectrum_numbers(solve([[2.0]], [[1.0]], 2))))
    assert numbers["homo_eV"] == 2.0
    assert numbers["lumo_eV"] is None
    assert numbers["gap_eV"] is None
    assert numbers["singly_occupied"] is False
