"""Sections of the configuration for the architecture `nearsight`; the defaults are its preset."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nearsight.nn.config import LARGEST_RATE, LossSection, ModelSection, OptimizerSection, PartitionSection


class NearsightConfig(ModelSection):
    """A linear baseline, and one O(2)-equivariant network per pair of elements on its residual, in bond frames."""

    architecture: Literal["nearsight"] = Field("nearsight", description="which architecture")
    l_max: int = Field(4, ge=1, le=8, description="highest degree of the neighbour densities")
    density_functions: int = Field(10, ge=1, le=1000, description="radial functions of the neighbour densities")
    channels: int = Field(
        24, ge=1, le=4096, description="learnt combinations of the densities, for each element and degree"
    )
    hidden: tuple[int, ...] = Field(
        (64, 32, 32, 16, 8),
        min_length=1,
        description="channels of order m = 0, 1, …; the last one holds for all higher m",
    )
    bond_functions: int = Field(20, ge=1, le=1000, description="radial functions of the bond's length")
    h0: bool = Field(
        False, description="start from H0 of superposed atomic densities, which every structure must then have beside S"
    )
    strictly_local: bool = Field(False, description="nothing beyond the cutoff is used: no second hop on site")
    long_range: Literal["none", "charges"] = Field(
        "none",
        description="charges: on-site terms see the potential and field of predicted charges of all atoms; "
        "training files must hold S",
    )

    self_consistent: bool = Field(
        True,
        description="learn H as a functional of the density matrix too, for self-consistent predictions, where the "
        "training data have S and the numbers of valence electrons; twice the time of an epoch",
    )

    @property
    def layers(self) -> int:
        """Number of hops within which atoms are seen by the network itself."""
        return 1

    def width(self, order: int) -> int:
        """Return the number of channels of order |m|."""
        return self.hidden[min(order, len(self.hidden) - 1)]


class NearsightLoss(LossSection):
    """A pseudo-Huber loss of the residuals, in units of their r.m.s."""

    huber_delta: float = Field(
        0.3, ge=0, description="errors below it count as squares, larger ones linearly; in units of the weighted error"
    )
    weight_power: float = Field(
        0.5,
        ge=0,
        le=1,
        description="errors in units of their r.m.s. weigh as this power of it (meV): 0 all alike, 1 as energies",
    )


class NearsightPartition(PartitionSection):
    """Batches of random bonds; slabs are what is kept for validation (`data.validation_slabs`)."""

    bonds_per_batch: int = Field(1024, ge=1, description="bonds in a batch, drawn at random")
    axis: Literal[0, 1, 2, "longest"] = Field("longest", description="lattice direction across which slabs are cut")
    thickness: float | None = Field(3.0, gt=0, description="of a validation slab, Å")
    count: int | None = Field(None, ge=1, description="number of slabs, instead of the thickness")


class NearsightOptimizer(OptimizerSection):
    """AdamW along a cosine, with an average of the weights."""

    kind: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = Field(0.5, ge=0, le=LARGEST_RATE, description="of adamw")
    schedule: Literal["plateau", "cosine"] = "cosine"
    warmup_steps: int = Field(50, ge=0, description="cosine: steps over which the rate rises")
    clip_norm: float | None = Field(10.0, gt=0, description="largest norm of the gradient")
    ema_decay: float | None = Field(
        0.999, gt=0, lt=1, description="decay of the EMA of the weights, which is what is validated and kept"
    )
    learning_rate: float = Field(4e-3, gt=0, le=LARGEST_RATE)
    minimum_learning_rate: float = Field(
        4e-6, ge=0, description="plateau: training stops when it is reached; cosine: the last rate"
    )
