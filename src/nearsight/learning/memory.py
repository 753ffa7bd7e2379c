"""How much memory this process may still use, where the network is."""

from __future__ import annotations

import psutil
import torch

from nearsight import memory


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
        free = memory.free_bytes()
    return max(0, free if limit_gb is None else min(free, int(limit_gb * 1e9) - used))
