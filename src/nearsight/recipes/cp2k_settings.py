"""How CP2K computes H and S, as a campaign has it under `dft`, and what is tried where it does not converge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from nearsight.configuration import Section
from nearsight.recipes.cp2k_names import checked_element, checked_path, checked_word


class Hubbard(Section):
    """The correction DFT+U on one shell of an element."""

    l: int = Field(ge=0, le=3, description="angular momentum of the shell")
    u: float = Field(description="U − J, eV")


class Cp2kSettings(Section):
    """How CP2K computes H and S; defaults are right for an amorphous oxide, a metal needs `smearing` and `kpoints`."""

    code: Literal["cp2k"] = "cp2k"
    basis: str | dict[str, str] = Field("SZV-MOLOPT-SR-GTH", description="one name, or one per element")
    basis_file: str = Field("BASIS_MOLOPT", description="of CP2K's data folder, or a path")
    functional: Literal["PBE", "PADE", "BLYP"] = "PBE"
    potential: dict[str, str] = Field(default_factory=dict, description="element → name; GTH-FUNCTIONAL-q… if none")
    cutoff: float = Field(300.0, gt=0, description="cutoff of the finest grid, Ry")
    rel_cutoff: float = Field(40.0, gt=0, description="cutoff that decides which grid a Gaussian goes to, Ry")
    eps_default: float = Field(1e-10, gt=0)
    images: bool = Field(True, description="one matrix per cell vector R (real-space); false: their sum at Γ")
    kpoints: tuple[int, int, int] = Field((1, 1, 1), description="Monkhorst-Pack mesh; more than Γ needs images")
    solver: Literal["diagonalisation", "ot"] = Field("diagonalisation", description="ot: only at Γ, with a gap")
    smearing: float | None = Field(None, gt=0, description="electronic temperature (Fermi-Dirac), K; for metals")
    empty_bands: int | None = Field(
        None, ge=0, description="none: a tenth of the occupied ones, with smearing a quarter, at least 10"
    )
    eps_scf: float = Field(1e-6, gt=0)
    max_scf: int = Field(60, ge=1)
    mixing: float = Field(0.3, gt=0, le=1, description="mixing parameter of Broyden's method")
    memory: int = Field(8, ge=1, description="number of steps that Broyden's method remembers")
    hubbard: dict[str, Hubbard] = Field(default_factory=dict, description="element → U; at Γ only: needs images=false")
    ghost_element: str = Field("O", description="element whose functions a ghost (X) carries")
    charge: int = 0
    h0: bool = Field(
        False, description="whether H₀ of superposed atomic densities is stored, too (at Γ: needs images=false)"
    )
    threshold: float = Field(1e-10, ge=0, description="matrix elements below it are not written")
    threads: int = Field(1, ge=1)

    def check_names(self) -> None:
        """Check that what stands in CP2K's input as a name is one.

        Raises
        ------
        InputError
            Where a name is none.
        """
        basis = {} if isinstance(self.basis, str) else self.basis
        for name in (self.basis,) if isinstance(self.basis, str) else self.basis.values():
            checked_word(name, "basis")
        for name in self.potential.values():
            checked_word(name, "potential")
        for where, symbols in (("basis", basis), ("potential", self.potential), ("hubbard", self.hubbard)):
            for symbol in symbols:
                checked_element(symbol, f"a key of `{where}`")
        checked_element(self.ghost_element, "ghost_element")
        checked_path(self.basis_file, "basis file")

    @model_validator(mode="after")
    def _fits_together(self) -> Cp2kSettings:
        self.check_names()
        if min(self.kpoints) < 1:
            raise ValueError(f"expected kpoints of at least 1, got {self.kpoints}")
        if self.kpoints != (1, 1, 1) and not self.images:
            raise ValueError("expected images=true with more k-points than Γ: a sum at Γ serves Γ alone")
        if self.solver == "ot" and (self.images or self.smearing):
            raise ValueError("expected images=false and no smearing with solver=ot (CP2K's OT works at Γ, with a gap)")
        idle = sorted({"mixing", "memory", "empty_bands"} & self.model_fields_set)
        if self.solver == "ot" and idle:
            raise ValueError(f"expected no {idle[0]} with solver=ot, which does without")
        if self.hubbard and self.images:
            raise ValueError("expected images=false with hubbard: CP2K has +U at Γ only")
        if self.h0 and self.images:
            raise ValueError("expected images=false with h0=true: CP2K prints H₀ at Γ only")
        return self


@dataclass(frozen=True)
class Fallback:
    """Another way to the same self-consistent field.

    Attributes
    ----------
    text : str
        What is done, for messages and the provenance.
    changes : mapping of str to number
        The settings that change.
    steps : int
        By how much the largest number of steps is multiplied.
    goes_on : bool
        Whether it begins where the try before stopped, not from atoms.
    """

    text: str
    changes: Mapping[str, float | int]
    steps: int = 1
    goes_on: bool = False


FALLBACKS = (
    Fallback("as given", {}),
    Fallback("on from there, mixing 0.1, memory 12, twice the steps", {"mixing": 0.1, "memory": 12}, 2, True),
    Fallback("from atoms, mixing 0.05, memory 20, four times the steps", {"mixing": 0.05, "memory": 20}, 4),
)
"""What is tried, in this order, where the self-consistent field does not converge."""


def fallback(settings: Cp2kSettings, number: int) -> Cp2kSettings:
    """Return the settings of a try.

    Parameters
    ----------
    settings : Cp2kSettings
        The settings as they were given.
    number : int
        The number of the try, from 0: an index of `FALLBACKS`.
    """
    chosen = FALLBACKS[number]
    return settings.model_copy(update={**chosen.changes, "max_scf": settings.max_scf * chosen.steps})
