"""Configurations of runs that began with version 0.1.0, in the words of today.

Their `config.yaml` names the architecture `model.network` and holds every key of both architectures, with and without
effect; what had none is dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from nearsight.configuration import rename_keys
from nearsight.nn.architectures.registry import architecture_named

RENAMED = {
    "model.network": "model.architecture",
    "model.initial": "model.h0",
    "data.holdout_parts": "data.validation_slabs",
    "partition.bonds": "partition.bonds_per_batch",
    "loss.softness": "loss.huber_delta",
    "optimizer.average": "optimizer.ema_decay",
    "optimizer.partitions_per_step": "optimizer.batches_per_step",
    "judge": "monitor",
    "patience": "early_stopping",
}
"""Keys of version 0.1.0 and what they are called now."""

HINTS = {**RENAMED, "threads": "the option --threads of the command (torch.set_num_threads in Python)"}


def upgrade(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of keys and values with the names of today, where it is one of version 0.1.0."""
    copied: dict[str, Any] = copy.deepcopy(dict(tree))
    model = copied.get("model")
    if not isinstance(model, dict) or "network" not in model:
        return copied
    rename_keys(copied, RENAMED)
    copied.pop("threads", None)
    architecture = architecture_named(str(copied["model"]["architecture"]))
    sections = {"loss": architecture.loss_section, "partition": architecture.partition_section}
    for key, section in sections.items():
        own = copied.get(key)
        if isinstance(own, dict):
            copied[key] = {name: value for name, value in own.items() if name in section.model_fields}
    return copied


def renamed_hint(message: str) -> str:
    """Return what a message about an unknown key should add, where the key had that name before."""
    found = [new for old, new in HINTS.items() if f"unknown key '{old}'" in message]
    return "".join(f"; it is {new} now" for new in found)
