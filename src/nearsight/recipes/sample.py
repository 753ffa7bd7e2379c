"""Sample: a structure that a recipe made, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
