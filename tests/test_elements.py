"""Groups of the periodic table."""

from __future__ import annotations

from nearsight.elements import group_of, number_of

GROUPS = {
    1: "Li Na K Rb Cs Fr",
    2: "Be Mg Ca Sr Ba Ra",
    3: "Sc Y Lu Lr",
    4: "Ti Zr Hf Rf",
    6: "Cr Mo W",
    10: "Ni Pd Pt",
    11: "Cu Ag Au",
    12: "Zn Cd Hg",
    13: "B Al Ga In Tl",
    14: "C Si Ge Sn Pb",
    16: "O S Se Te Po",
    17: "F Cl Br I At",
    18: "He Ne Ar Kr Xe Rn Og",
    None: "X H La Ce Yb Ac U No",
}


def test_groups() -> None:
    for group, symbols in GROUPS.items():
        for symbol in symbols.split():
            number = number_of(symbol)
            assert number is not None
            assert group_of(number) == group, symbol
