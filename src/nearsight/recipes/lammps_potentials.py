"""Classical potentials for LAMMPS, as the commands that set them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nearsight.errors import ConfigError


@dataclass(frozen=True)
class LammpsPotential:
    """A potential in LAMMPS' units `metal`.

    Attributes:
        elements: type 1, 2, … in LAMMPS.
        charges: e, of each element; none: neutral atoms.
        commands: after the atoms are read.
        files: name → text of files that the commands need.
        source: what it is and where it is published.
    """

    elements: tuple[str, ...]
    charges: tuple[float, ...]
    commands: tuple[str, ...]
    source: str
    files: Mapping[str, str] = field(default_factory=dict)


_GE_SW = """# Stillinger-Weber germanium: K. Ding, H. C. Andersen, Phys. Rev. B 34, 6987 (1986)
# epsilon sigma a lambda gamma costheta0 A B p q tol
Ge Ge Ge 1.93 2.181 1.80 31.0 1.20 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0
"""

POTENTIALS: dict[str, LammpsPotential] = {
    "hfo2-rigid-ion": LammpsPotential(
        ("Hf", "O"), (2.4, -1.2),
        (
            "pair_style buck/coul/long 8.0",
            "pair_coeff 1 1 0.0 1.0 0.0",
            "pair_coeff 1 2 3500.0 0.25 0.0",
            "pair_coeff 2 2 1388.77 0.36232 100.0",
            "kspace_style pppm 1e-4",
        ),
        "rigid ions q = +2.4/-1.2 with Buckingham terms: Hf-O fitted by hand to the fluorite lattice (not published), "
        "O-O of van Beest, Kramer, van Santen, Phys. Rev. Lett. 64, 1955 (1990)",
    ),
    "ge-stillinger-weber": LammpsPotential(
        ("Ge",), (), ("pair_style sw", "pair_coeff * * ge.sw Ge"),
        "Stillinger-Weber, Ge of Ding and Andersen, Phys. Rev. B 34, 6987 (1986)", {"ge.sw": _GE_SW},
    ),
}


def potential_named(name: str) -> LammpsPotential:
    """The potential; ConfigError for an unknown name."""
    if name not in POTENTIALS:
        raise ConfigError(f"expected a potential {' or '.join(POTENTIALS)} after lammps:, got {name!r}; for other "
                          "elements use the engine chgnet or ase:MODULE.CLASS")
    return POTENTIALS[name]
