"""The memory that the machine has left for this process."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
FILES = {"": ("memory.max", "memory.current"), "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes")}
"""Names of the files that hold a control group's limit and use, in version 2 and in version 1 of control groups."""


def free_bytes() -> int:
    """Return how much memory this process may still ask for.

    Returns
    -------
    int
        Bytes that are free on this machine, or fewer where a limit of a batch system or container is nearer.
    """
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups()]))


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
