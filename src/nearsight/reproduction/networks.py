"""Which networks are compared, and how each is set up for the same minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS = {"xia2025": "demo", "nearsight": "nearsight"}
"""Network → preset. `demo` has the paper's network with a schedule for minutes; the paper's own is for days."""
PAPER = "paper"
SELF_CONSISTENT = "nearsight, self-consistent"
MOST_EPOCHS = 20_000
"""Epochs that time alone ends."""


def base_settings(network: str, minutes: float) -> dict[str, Any]:
    """Return the changes of a network's preset for so many minutes of training.

    The paper's network holds no slab out: then all its partitions hold the same atoms, and the loss of the training
    drives its schedule. The default network keeps a slab, on which its self-consistency is validated.
    """
    common: dict[str, Any] = {"max_epochs": MOST_EPOCHS, "metrics_every": MOST_EPOCHS}
    if network == "xia2025":
        common |= {"data.validation_slabs": 0, "optimizer.decay_patience": max(3, round(0.7 * minutes))}
    return common


def ways(network: str, learnt: bool) -> dict[str, bool]:
    """Return the names of a network's predictions, and whether each is self-consistent."""
    return {network: False, SELF_CONSISTENT: True} if learnt else {network: False}


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which later ones win."""
    return {key: value for one in settings for key, value in one.items()}
