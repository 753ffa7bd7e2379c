"""Names of the published network's parameters in ours."""

from __future__ import annotations

import re

PATTERNS = [
    (r"^sphere_embedding", "embedding"),
    (r"^node_lin", "node_head"),
    (r"^edge_lin", "edge_head"),
    (r"norm_1", "norm_message"),
    (r"norm_2", "norm_feed_forward"),
    (r"affine_weight", "weight"),
    (r"norm_l0", "scalar"),
    (r"ga\.alpha_dot", "attention.vector"),
    (r"ga\.alpha_norm", "attention.norm"),
    (r"ga\.source_embedding", "radial.source"),
    (r"ga\.target_embedding", "radial.target"),
    (r"ga\.rad_func\.net", "radial.network"),
    (r"ga\.so2_conv_2\.fc_m0", "second.order_zero"),
    (r"ga\.so2_conv_2\.so2_m_conv\.(\d)\.fc", r"second.orders.\1"),
    (r"ga\.proj", "project"),
    (r"ffn\.so3_linear_1", "feed_forward.up"),
    (r"ffn\.so3_linear_2", "feed_forward.down"),
    (r"ffn\.gating_linear", "feed_forward.gates"),
]


def our_name(published: str) -> str:
    """`blocks.2k` is the node update of layer k, `blocks.2k+1` its edge update."""
    name = published
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        layer, is_edge = divmod(int(block.group(1)), 2)
        name = f"{'edge' if is_edge else 'node'}_updates.{layer}." + name[block.end() :]
        first = "convolution" if is_edge else "first"
        name = name.replace("ga.so2_conv_1.fc_m0", f"{first}.order_zero")
        name = re.sub(r"ga\.so2_conv_1\.so2_m_conv\.(\d)\.fc", rf"{first}.orders.\1", name)
    for pattern, replacement in PATTERNS:
        name = re.sub(pattern, replacement, name)
    return name
