"""Sample: a structure that a recipe made, and how.

A structure as extended xyz, to the last bit, replaced whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import symbol_of
from nearsight.formats.xyz import read_xyz
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Sample:
    """A structure and where it comes from.

    Attributes:
        structure: the atoms.
        provenance: plain text by key, such as `structure`, `seed`; it goes into the calculation's own.
    """

    structure: Structure
    provenance: Mapping[str, str] = field(default_factory=dict)

    def became(self, structure: Structure, **said: str) -> Sample:
        """The same sample after a further step."""
        return replace(self, structure=structure, provenance={**self.provenance, **said})


def write_extxyz(path: Path, structure: Structure) -> None:
    """Write atoms, cell and pbc; ghosts are X."""
    lattice = " ".join(repr(float(x)) for x in structure.cell.ravel())
    pbc = " ".join("T" if p else "F" for p in structure.pbc)
    lines = [str(len(structure)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}"']
    for number, place in zip(structure.numbers, structure.positions):
        lines.append(f"{symbol_of(int(number))} " + " ".join(repr(float(x)) for x in place))
    write_text_atomically(path, "\n".join(lines) + "\n")


def read_extxyz(path: Path) -> Structure:
    """What `write_extxyz` wrote."""
    return read_xyz(path)
