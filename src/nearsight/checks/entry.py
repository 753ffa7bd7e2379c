"""Entry: what is compared between the members of a set, without their matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Entry:
    """A member of a set.

    Attributes:
        name: the file, as the user named it.
        structure, basis, provenance, cutoff: of the calculation.
        folded: whether H is summed over images; None without H.
        test: held back for testing.
    """

    name: str
    structure: Structure
    basis: BasisSet
    provenance: Mapping[str, str]
    cutoff: float | None
    folded: bool | None
    test: bool = False

    @classmethod
    def of(cls, name: str, calculation: Calculation, test: bool = False) -> Entry:
        """Of a calculation, whose matrices are not kept."""
        h = calculation.hamiltonian
        return cls(name, calculation.structure, calculation.basis, calculation.provenance, calculation.cutoff,
                   None if h is None else h.folded, test)
