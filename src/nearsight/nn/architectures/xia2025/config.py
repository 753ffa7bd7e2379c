"""ModelConfig: everything that decides a network's functions, except its basis and its weights.

Widths: the sizes of the network's layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class Widths:
    """Sizes shared by node and edge updates (paper, Tables 7 and 14).

    Attributes:
        channels: features per component of a node or edge ("embedding size").
        l_max: highest degree; orders are not truncated.
        heads: attention heads.
        hidden: channels between the two convolutions.
        alpha: invariant channels per head for the attention logits.
        value: channels per head of a message.
        feed_forward: channels inside the feed-forward network.
        n_gaussians: radial functions.
        max_number: atomic numbers 0 … max_number − 1 have an embedding.
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


class ModelConfig(BaseModel):
    """The network (paper, Tables 7 and 14; defaults are Table 7)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: Literal["xia2025"] = Field("xia2025", description="which network")
    cutoff: float = Field(8.0, gt=0, description="r_cut, Å: pairs beyond it are not predicted")
    layers: int = Field(1, ge=1, description="message-passing layers; 1 is strictly local")
    l_max: int = Field(4, ge=1, le=8, description="highest degree of the features")
    channels: int = Field(16, ge=1, description="features per component of a node or edge")
    heads: int = Field(2, ge=1, description="attention heads")
    hidden: int = Field(16, ge=1, description="channels between the convolutions")
    alpha: int = Field(16, ge=1, description="channels per head for attention logits")
    value: int = Field(16, ge=1, description="channels per head of a message")
    feed_forward: int = Field(64, ge=1, description="channels inside the feed-forward network")
    gaussians: int | None = Field(None, ge=2, description="radial functions; as many as channels by default")

    def widths(self) -> Widths:
        """Sizes of the layers."""
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
