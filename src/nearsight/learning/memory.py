"""How much memory this process may still use."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
FILES = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
"""Limit and use, of version 2 and of version 1."""


def available_bytes(device: torch.device, limit_gb: float | None = None) -> int:
    """Bytes that are free where the network is.

    Args:
        device: of the network.
        limit_gb: 10⁹ bytes that the process may use in all.
    """
    if device.type == "cuda":
        free, used = torch.cuda.mem_get_info(device)[0], torch.cuda.memory_reserved(device)
        free += used - torch.cuda.memory_allocated(device)
    else:
        used = psutil.Process().memory_info().rss
        free = min([psutil.virtual_memory().available, *_left_in_groups()])
    return max(0, free if limit_gb is None else min(free, int(limit_gb * 1e9) - used))


def _left_in_groups() -> list[int]:
    """What the limits of this process' control groups (batch systems, containers) leave."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "memory" in controllers.split(","):
            kind = "memory" if controllers else ""
            # A limit on any group above holds, too. In a container the path may be one of the host's.
            folder = CGROUPS / kind / path.lstrip("/")
            left += [rest for group in [folder, *folder.parents] if (rest := _left_in(group, *FILES[kind])) is not None]
    return left


def _left_in(group: Path, limit: str, use: str) -> int | None:
    try:
        free = int((group / limit).read_text()) - int((group / use).read_text())
        # Files that the system keeps in memory count as used, but are dropped when memory is asked for.
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, free + int(statistics.get("inactive_file", 0)))
    except (OSError, ValueError):  # no such group, or the limit is "max"
        return None
