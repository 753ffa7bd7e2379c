"""Sections of the configuration for the architecture `xia2025`, and the sizes of its layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator, model_validator

from nearsight.nn.config import LossSection, ModelSection, OptimizerSection, PartitionSection
from nearsight.partition.partitioner import PARTITIONERS


@dataclass(frozen=True)
class Widths:
    """Sizes shared by node and edge updates (paper, Tables 7 and 14).

    Attributes
    ----------
    channels : int
        Features per component of a node or edge ("embedding size").
    l_max : int
        Highest degree; orders are not truncated.
    heads : int
        Attention heads.
    hidden : int
        Channels between the two convolutions.
    alpha : int
        Invariant channels per head for the attention logits.
    value : int
        Channels per head of a message.
    feed_forward : int
        Channels inside the feed-forward network.
    n_gaussians : int
        Radial functions.
    max_number : int
        Atomic numbers 0 … max_number − 1 have an embedding.
    """

    channels: int = 16
    l_max: int = 4
    heads: int = 2
    hidden: int = 16
    alpha: int = 16
    value: int = 16
    feed_forward: int = 64
    n_gaussians: int = 16
    max_number: int = 100


class Xia2025Config(ModelSection):
    """The network (paper, Tables 7 and 14; the defaults are Table 7)."""

    architecture: Literal["xia2025"] = Field("xia2025", description="which architecture")
    layers: int = Field(1, ge=1, le=64, description="message-passing layers; 1 is strictly local")
    l_max: int = Field(4, ge=1, le=8, description="highest degree of the features")
    channels: int = Field(16, ge=1, le=4096, description="features per component of a node or edge")
    heads: int = Field(2, ge=1, le=256, description="attention heads")
    hidden: int = Field(16, ge=1, le=4096, description="channels between the convolutions")
    alpha: int = Field(16, ge=1, le=4096, description="channels per head for attention logits")
    value: int = Field(16, ge=1, le=4096, description="channels per head of a message")
    feed_forward: int = Field(64, ge=1, le=65536, description="channels inside the feed-forward network")
    gaussians: int | None = Field(None, ge=2, le=65536, description="radial functions; as many as channels by default")

    def widths(self) -> Widths:
        """Return the sizes of the layers."""
        return Widths(
            self.channels,
            self.l_max,
            self.heads,
            self.hidden,
            self.alpha,
            self.value,
            self.feed_forward,
            self.gaussians or self.channels,
        )


class Xia2025Loss(LossSection):
    """The loss in the coupled space (paper, appendix A)."""

    kind: Literal["mse", "rmse_mae"] = Field("mse", description="mse (materials) or rmse + mae (molecules)")
    masked: bool = Field(False, description="leave the padding out")


class Xia2025Partition(PartitionSection):
    """Augmented partitions (paper, section 3.3): labelled atoms with a halo of virtual ones."""

    kind: str = Field(
        "slabs",
        description="slabs; bisection: boxes with small surfaces; metis: parts with few edges between them; whole: the "
        "whole structure in one step; auto: whole where it fits into memory and nothing is kept for validation, else "
        "slabs",
    )
    axis: Literal[0, 1, 2, "longest"] = Field("longest", description="lattice direction that is cut")
    thickness: float | None = Field(3.0, gt=0, description="of a slab, Å")
    count: int | None = Field(None, ge=1, description="number of parts; of slabs instead of the thickness")
    halo: bool = Field(True, description="virtual nodes and edges; false only for the ablation of Table 2")

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        known = [*PARTITIONERS, "whole", "auto"]
        if kind not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return kind

    @model_validator(mode="after")
    def _keys_have_effect(self) -> Xia2025Partition:
        if self.kind not in ("bisection", "metis"):
            return self
        for key in ("axis", "thickness"):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is only for kind=slabs: leave it out")
        if self.count is None:
            raise ValueError(f"expected count, the number of parts, for kind={self.kind}, got none")
        return self


class Xia2025Optimizer(OptimizerSection):
    """Adam and ReduceLROnPlateau (paper, Table 7), partitions in their order."""

    shuffle: bool = Field(False, description="order of the batches anew in every epoch")
