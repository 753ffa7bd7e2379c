"""Widths: the sizes of the network's layers."""

from __future__ import annotations

from dataclasses import dataclass


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
