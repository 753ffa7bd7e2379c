"""Sections of a training configuration that an architecture owns, and what they have in common.

An architecture subclasses `ModelSection`, `LossSection` and `PartitionSection` with the keys that have an effect for
it, and `OptimizerSection` with defaults of its own. A key that is not in its sections is refused: none is ignored.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nearsight.configuration import Section


class ModelSection(Section):
    """Settings that decide the functions of a model, apart from its basis and from what is learnt.

    Attributes
    ----------
    architecture : str
        Name in the registry (`nearsight.nn.architectures.registry`); a subclass narrows it to a literal.
    cutoff : float
        Cutoff radius r_cut in Å; pairs of atoms farther apart are not predicted.
    """

    architecture: str
    cutoff: float = Field(8.0, gt=0, le=1e5, description="r_cut, Å: pairs beyond it are not predicted")


class LossSection(Section):
    """Settings of the loss that a training step minimises."""


class PartitionSection(Section):
    """Settings of how structures are divided into batches."""


LARGEST_RATE = 1e3
"""Of a learning rate, and of the decay of weights: far above any that trains, and products of two are numbers."""


class OptimizerSection(Section):
    """Settings of the optimiser: Adam or AdamW, its schedule, gradient clipping and the average of the weights.

    The learning rate follows a plateau schedule (paper, Table 7) or a cosine.
    """

    kind: Literal["adam", "adamw"] = Field("adam", description="adamw: with decoupled weight decay")
    weight_decay: float = Field(0.0, ge=0, le=LARGEST_RATE, description="of adamw")
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau", description="cosine: over budget_minutes or max_epochs, whichever ends first"
    )
    warmup_steps: int = Field(0, ge=0, description="cosine: steps over which the rate rises")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay of the exponential moving average (EMA) of the weights, which is what is validated and kept",
    )
    learning_rate: float = Field(1e-4, gt=0, le=LARGEST_RATE)
    minimum_learning_rate: float = Field(
        1e-5, ge=0, description="plateau: training stops when it is reached; cosine: the last rate"
    )
    decay_factor: float = Field(0.5, gt=0, lt=1, description="plateau: factor of the rate")
    decay_patience: int = Field(500, ge=0, description="plateau: epochs without progress before the rate falls")
    decay_threshold: float = Field(1e-3, ge=0, description="plateau: relative change that counts as progress")
    batches_per_step: int = Field(1, ge=1, description="batches in one optimiser step, with one common denominator")
    shuffle: bool = Field(True, description="order of the batches anew in every epoch")

    @model_validator(mode="after")
    def _keys_have_effect(self) -> OptimizerSection:
        if self.kind == "adam" and self.weight_decay:
            raise ValueError("weight_decay is only for kind=adamw: give optimizer.kind=adamw or no weight_decay")
        if self.schedule == "plateau" and self.warmup_steps:
            raise ValueError("warmup_steps are only for schedule=cosine: give optimizer.schedule=cosine or none")
        given = self.model_fields_set & {"decay_factor", "decay_patience", "decay_threshold"}
        if self.schedule == "cosine" and any(
            getattr(self, key) != type(self).model_fields[key].default for key in given
        ):
            raise ValueError(f"{', '.join(sorted(given))} are only for schedule=plateau: leave them out")
        return self
