"""Sample: a structure that a recipe made, how it was made, and the file it is kept in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import symbol_of
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Sample:
    """A structure and where it comes from.

    Attributes
    ----------
    structure : Structure
        The atoms.
    provenance : mapping of str to str
        Plain text by key, such as `structure`, `seed`; it goes into the provenance of the calculation.
    """

    structure: Structure
    provenance: Mapping[str, str] = field(default_factory=dict)

    def with_structure(self, structure: Structure, **said: str) -> Sample:
        """Return the sample after a further step.

        Parameters
        ----------
        structure : Structure
            The atoms after the step.
        **said : str
            What is added to the provenance.
        """
        return replace(self, structure=structure, provenance={**self.provenance, **said})


def write_extxyz(path: Path, structure: Structure) -> None:
    """Write atoms, cell and periodic directions to the last bit; `formats.xyz.read_xyz` reads them back.

    Parameters
    ----------
    path : Path
        The file; it is replaced whole or not at all.
    structure : Structure
        What is written; ghosts are called X.

    Raises
    ------
    InputError
        Where the file cannot be written.
    """
    lattice = " ".join(repr(float(x)) for x in structure.cell.ravel())
    pbc = " ".join("T" if p else "F" for p in structure.pbc)
    lines = [str(len(structure)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}"']
    for number, place in zip(structure.numbers, structure.positions):
        lines.append(f"{symbol_of(int(number))} " + " ".join(repr(float(x)) for x in place))
    write_text_atomically(path, "\n".join(lines) + "\n")
