"""Names of a campaign add no lines to CP2K's input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from nearsight.errors import ConfigError, InputError
from nearsight.orbitals.basis import basis_named
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.cp2k_text import input_text, render
from nearsight.structures.structure import Structure

SZV = basis_named("SZV-MOLOPT-SR-GTH")
OXYGEN = Structure(np.array([8]), np.zeros((1, 3)), np.eye(3) * 6, np.ones(3, dtype=bool))
LINES = "SZV\n@INCLUDE '/etc/passwd'"


@pytest.mark.parametrize(
    "settings",
    [
        {"basis": LINES},
        {"basis": {"O": LINES}},
        {"basis": {LINES: "SZV-MOLOPT-SR-GTH"}},
        {"basis": "SZV MOLOPT"},
        {"basis": "${HOME}"},
        {"basis": ""},
        {"potential": {"O": LINES}},
        {"potential": {"O\nX": "GTH-PBE-q6"}},
        {"basis_file": LINES},
        {"basis_file": "BASIS MOLOPT"},
        {"basis_file": "a'b"},
        {"basis_file": ""},
        {"ghost_element": "O\n&END"},
        {"ghost_element": "Qq"},
        {"images": False, "hubbard": {"O\n&END": {"l": 1, "u": 5.0}}},
    ],
)
def test_names_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises((InputError, ConfigError, ValidationError), match=r"expected the (name|symbol) of"):
        Cp2kSettings(**settings)


@pytest.mark.parametrize("name", ["6-31G*", "6-311++G**", "DZVP-MOLOPT-SR-GTH-q6", "aug-cc-pVDZ", "ccGRB-D-q8"])
def test_names_of_basis_sets(name: str) -> None:
    settings = Cp2kSettings(basis=name, basis_file="../data/BASIS_MOLOPT", potential={"O": "GTH-PBE-q6"})
    assert f"BASIS_SET {name}\n" in input_text(OXYGEN, settings, SZV.restricted((8,)))


@pytest.mark.parametrize("value", ["1\n&END", "a\r\nb", "@SET A 1", "${A}", "&END", "\x00", "a\u2028b"])
def test_nothing_but_one_line_is_written(value: str) -> None:
    with pytest.raises(InputError, match="plain word or number"):
        render([("BASIS_SET", value)])
    with pytest.raises(InputError, match="plain word or number"):
        render([(f"&KIND {value}\n", [])])
