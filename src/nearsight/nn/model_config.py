"""ModelConfig: everything that decides a network's functions, except its basis and its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nearsight.nn.widths import Widths


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
        return Widths(self.channels, self.l_max, self.heads, self.hidden, self.alpha, self.value, self.feed_forward,
                      self.gaussians or self.channels)
