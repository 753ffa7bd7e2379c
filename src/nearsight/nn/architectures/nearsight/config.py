"""BondConfig: what decides the functions of the network `nearsight`, except its basis, its baseline and its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class BondConfig(BaseModel):
    """The network `nearsight`: a linear baseline, and one O(2)-equivariant network per pair of elements on what that
    leaves, in the frame of each bond."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["nearsight"] = Field("nearsight", description="which network")
    cutoff: float = Field(8.0, gt=0, description="r_cut, Å: pairs beyond it are not predicted")
    l_max: int = Field(4, ge=1, le=8, description="highest degree of the neighbour densities")
    density_functions: int = Field(10, ge=1, description="radial functions of the neighbour densities")
    channels: int = Field(24, ge=1, description="learnt combinations of the densities, for each element and degree")
    hidden: tuple[int, ...] = Field(
        (64, 48, 48, 32, 16),
        min_length=1,
        description="channels of order m = 0, 1, …; the last one holds for all higher m",
    )
    bond_functions: int = Field(20, ge=1, description="radial functions of the bond's length")
    h0: bool = Field(
        False,
        description="start from H0 of superposed atomic densities, which every structure's "
        "file must then hold beside S",
    )
    strictly_local: bool = Field(False, description="nothing beyond the cutoff is used: no second hop on site")

    long_range: Literal["none", "charges"] = Field(
        "none",
        description="charges: on-site terms see the potential and field of predicted charges of all atoms; "
        "training files must hold S",
    )

    @property
    def layers(self) -> int:
        """Hops within which atoms are seen by the network itself."""
        return 1

    def width(self, order: int) -> int:
        """Channels of one order."""
        return self.hidden[min(order, len(self.hidden) - 1)]
