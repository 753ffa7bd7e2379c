"""Processes that compute together: sums over all of them, and what the first one says, by torch.distributed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from importlib import import_module
from itertools import count
from typing import TypeVar

import torch
import torch.distributed as distributed
from torch import Tensor

from nearsight.errors import ConfigError
from nearsight.launch import Launch, LostProcessError, launched

T = TypeVar("T")
PATIENCE = timedelta(hours=2)
"""Time that a process waits for the others before it gives up, such as while the first one computes levels."""
_meetings = count()
"""Numbers of the meetings of a launch: what was said in one is not heard in the next."""


class Processes:
    """The processes of a launch, of which each calls the same methods in the same order.

    Parameters
    ----------
    device : torch.device
        Where this one computes.
    launch : Launch, optional
        Its place among the others; alone by default.
    """

    def __init__(self, device: torch.device, launch: Launch | None = None) -> None:
        self.device, self.launch = device, launch or Launch()

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.launch.rank

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.launch.count

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, the same bits in each.

        Parameters
        ----------
        tensor : Tensor
            On the device; changed in place where there are several processes.

        Raises
        ------
        LostProcessError
            Another process has ended.
        """
        if self.count > 1:
            with _together():
                distributed.all_reduce(tensor)
        return tensor

    def least(self, number: int) -> int:
        """Return the smallest of the numbers that the processes gave.

        Parameters
        ----------
        number : int
            That of this process.

        Raises
        ------
        LostProcessError
            Another process has ended.
        """
        if self.count == 1:
            return number
        box = torch.tensor([number], dtype=torch.int64, device=self.device)
        with _together():
            distributed.all_reduce(box, distributed.ReduceOp.MIN)
        return int(box[0])

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter], numbers: Tensor) -> Tensor:
        """Replace all gradients by their sums over the processes, and sum some numbers in the same message.

        Parameters
        ----------
        parameters : iterable of Parameter
            The same ones in every process; a gradient that is None counts as zero.
        numbers : Tensor
            (k,) of the type of the parameters.

        Returns
        -------
        Tensor
            (k,) their sums, the same bits in each process.

        Raises
        ------
        LostProcessError
            Another process has ended.
        """
        if self.count == 1:
            return numbers
        own = list(parameters)
        for p in own:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        gradients = [p.grad for p in own if p.grad is not None]
        flat = self.sum(torch.cat([numbers, *(g.reshape(-1) for g in gradients)]))
        sums, *parts = flat.split([len(numbers), *(g.numel() for g in gradients)])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients)])
        return sums

    def as_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process.

        Parameters
        ----------
        tensors : iterable of Tensor
            Of the same shapes in every process.

        Raises
        ------
        LostProcessError
            Another process has ended.
        """
        if self.count > 1:
            with _together(), torch.no_grad():
                for tensor in tensors:
                    distributed.broadcast(tensor, 0)

    def said_by_first(self, value: T) -> T:
        """Return what the first process gave for a value.

        Parameters
        ----------
        value : object
            Anything that can be pickled; of the other processes it is dropped.

        Raises
        ------
        LostProcessError
            Another process has ended.
        """
        if self.count == 1:
            return value
        box: list[T] = [value]
        with _together():
            distributed.broadcast_object_list(box, 0, device=self.device)
        return box[0]

    def check_same(self, own: str, what: str) -> None:
        """Refuse to go on where this process was given something else than the first one.

        Parameters
        ----------
        own : str
            What identifies it.
        what : str
            What it is, for the message.

        Raises
        ------
        ConfigError
            The first process has another.
        LostProcessError
            Another process has ended.
        """
        if self.said_by_first(own) != own:
            raise ConfigError(
                f"expected the {what} of the first process in all {self.count}, got another in process {self.rank}; "
                "give each machine the same files, command and version"
            )


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LostProcessError(
            f"expected all processes of this run to go on, got one that has ended or does not answer ({reason:.200})"
        ) from error


@cache
def _store() -> distributed.Store:
    """Return where the processes of this launch leave messages for each other."""
    place = {name: os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT")}
    port = place["MASTER_PORT"]
    if not (place["MASTER_ADDR"] and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise ConfigError(
            "expected MASTER_ADDR and MASTER_PORT, where the processes meet, beside RANK and WORLD_SIZE, got "
            f"{place}; start them by torchrun, or unset RANK and WORLD_SIZE for one process"
        )
    return next(distributed.rendezvous("env://", timeout=PATIENCE))[0]


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Meet the other processes of this launch, for the time of a `with` block.

    Parameters
    ----------
    device : torch.device
        Where this process computes: gloo connects CPUs, NCCL connects GPUs.

    Yields
    ------
    Processes
        All of them; this one alone where torchrun did not start it.

    Raises
    ------
    ConfigError
        The environment does not say where the others are.
    LostProcessError
        The others cannot be met.
    """
    launch = launched()
    if launch.count == 1:
        yield Processes(device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Optimisers import this module, whose default arguments keep the group of that moment for ever: the threads of a
    # group that outlives destroy_process_group run into the end of the interpreter, which terminates the process.
    import_module("torch.distributed.nn.functional")
    with _together():
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            timeout=PATIENCE,
            store=distributed.PrefixStore(f"nearsight {next(_meetings)}", _store()),
            rank=launch.rank,
            world_size=launch.count,
        )
    try:
        yield Processes(device, launch)
        with _together():
            distributed.barrier()  # none closes its connections while another still hears what was said last
    finally:
        distributed.destroy_process_group()
