"""def2-SVP, the all-electron basis of the databases of molecules, for H to Kr."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from nearsight.elements import number_of
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet

DEF2_SVP = "def2-SVP"


@cache
def def2_svp() -> BasisSet:
    """Shells and electrons of H to Kr."""
    text = files("nearsight.orbitals").joinpath("def2_svp.csv").read_text()
    shells: dict[int, tuple[int, ...]] = {}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        z = number_of(row["element"])
        assert z is not None
        shells[z] = tuple(SHELL_LETTERS.index(letter) for letter in row["shells"])
    return BasisSet(DEF2_SVP, shells, {z: z for z in shells})
