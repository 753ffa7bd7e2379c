"""PyscfSettings: how PySCF computes H and S, as a campaign's YAML file says it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nearsight.configuration import Section


class PyscfSettings(Section):
    """Defaults are right for a small molecule; crystals need `basis: gth-szv-molopt-sr` and `pseudo: gth-pbe`."""

    code: Literal["pyscf"] = "pyscf"
    functional: str = Field("pbe", description="any that PySCF knows")
    basis: str | dict[str, str] = Field("def2-svp", description="one name of PySCF's, or one per element")
    pseudo: str | None = Field(None, description="gth-…, or an effective core potential such as def2-svp")
    ghost_basis: str = Field("O", description="element whose functions a ghost (X) carries")
    charge: int = 0
    grid_level: int = Field(3, ge=0, le=9, description="of PySCF's atomic grids")
    ke_cutoff: float | None = Field(
        None,
        gt=0,
        description="E_h, of the plane waves of a cell with a GTH pseudopotential; none: PySCF's choice, safe and dear",
    )
    kpoints: tuple[int, int, int] | None = Field(None, description="mesh through Γ; none: Γ, images summed")
    smearing: float | None = Field(None, gt=0, description="K, Fermi-Dirac; for metals")
    conv_tol: float = Field(1e-10, gt=0, description="E_h, of the energy")
    conv_tol_grad: float = Field(1e-7, gt=0, description="E_h, of the orbital gradient")
    max_scf: int = Field(60, ge=1)
    h0: bool = Field(False, description="also H₀, of superposed atomic densities")
    threads: int = Field(1, ge=1)

    @property
    def gth(self) -> bool:
        """Whether the pseudopotential is one of Goedecker, Teter and Hutter."""
        return self.pseudo is not None and self.pseudo.lower().startswith("gth")

    @property
    def mesh(self) -> tuple[int, int, int] | None:
        """The k-points; None for Γ alone, also where it is written as 1, 1, 1."""
        return None if self.kpoints == (1, 1, 1) else self.kpoints

    @property
    def basis_names(self) -> tuple[str, ...]:
        """The different names of basis sets."""
        return (self.basis,) if isinstance(self.basis, str) else tuple(sorted(set(self.basis.values())))

    @model_validator(mode="after")
    def _fits_together(self) -> PyscfSettings:
        if self.kpoints is not None and min(self.kpoints) < 1:
            raise ValueError(f"expected kpoints of at least 1, got {self.kpoints}")
        of_gth = {"gth" in name.lower() for name in self.basis_names}
        if of_gth == {True} and not self.gth:
            raise ValueError(f"expected pseudo=gth-… with basis {', '.join(self.basis_names)}, got {self.pseudo}")
        if self.gth and False in of_gth:
            raise ValueError(f"expected a basis gth-… with pseudo={self.pseudo}, got {', '.join(self.basis_names)}")
        return self
