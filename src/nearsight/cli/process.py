"""Settings of the process that suit large tensors; to be called before torch is imported."""

from __future__ import annotations

import ctypes
import os
import sys

from nearsight.launch import launched

# glibc's <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
LARGE = 2**31 - 1


def tune_process(threads: int | None = None) -> None:
    """Use so many CPU threads, after `tune_waiting_and_memory`.

    Parameters
    ----------
    threads : int, optional
        Threads of torch, which is imported; its own number by default, or this process's share of the cores.
    """
    tune_waiting_and_memory()
    threads = threads or own_share()
    if threads:
        import torch

        torch.set_num_threads(threads)


def tune_waiting_and_memory() -> None:
    """Keep freed memory instead of returning it, and let threads that wait sleep; torch is not imported.

    Freshly mapped pages cost more than the arithmetic done on them: on two cores a training step of the plain network
    takes half the time with them kept. Processes of one launch divide the cores. Threads that spin while they wait
    slow each other down on a busy machine.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _keep_memory()


def own_share() -> int | None:
    """Return the cores for each process where torchrun started several; it allows each one only a single core."""
    launch = launched()
    if launch.local_count == 1 or os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // launch.local_count)


def _keep_memory() -> None:
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another libc than glibc
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGE)
    mallopt(M_TOP_PAD, 256 * 2**20)
