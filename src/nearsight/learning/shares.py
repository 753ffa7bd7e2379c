"""Which part of the batches of a step each of several processes computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nearsight.errors import ConfigError
from nearsight.nn.batches import PlannedBatches
from nearsight.nn.model import Batches
from nearsight.nn.processes import Processes


class Shares:
    """Batches of which each process computes its share; together they compute each batch of a step exactly once.

    Batches that can be divided are: each process computes its part of every one. Others are computed whole, each by one
    process, the most expensive ones first by whoever has least to do.

    Parameters
    ----------
    batches : Batches
        All batches, the same in every process.
    processes : Processes
        The processes.
    """

    def __init__(self, batches: Batches, processes: Processes) -> None:
        self.batches, self.processes = batches, processes
        self._parts: Batches | None = batches
        if processes.count > 1:
            own = batches.part(processes.rank, processes.count) if isinstance(batches, PlannedBatches) else None
            self._parts = own

    def __len__(self) -> int:
        return len(self.batches)

    @property
    def divided(self) -> bool:
        """Whether each process computes a part of every batch."""
        return self._parts is not None

    def n_terms(self, chosen: Sequence[int]) -> int:
        """Return the number of terms of some whole batches, those of all processes together."""
        return self.batches.n_terms(chosen)

    def own(self, chosen: Sequence[int]) -> Iterator[Any]:
        """Return what this process computes of some batches.

        Parameters
        ----------
        chosen : sequence of int
            Positions of the batches.

        Returns
        -------
        iterator
            Batches of the architecture, each made when it is asked for.
        """
        if self._parts is not None:
            parts = self._parts
            return (parts[k] for k in chosen if parts.n_terms([k]))
        return (self.batches[k] for k in self._whole(chosen))

    def check(self, batches_per_step: int) -> None:
        """Refuse steps in which some process would have nothing to compute.

        Parameters
        ----------
        batches_per_step : int
            Batches in a step.

        Raises
        ------
        ConfigError
            Batches cannot be divided, and a step has fewer than there are processes.
        """
        count = self.processes.count
        if not self.divided and min(batches_per_step, len(self)) < count:
            raise ConfigError(
                f"expected at least one batch in a step for each of {count} processes, got {len(self)} batches and "
                f"optimizer.batches_per_step={batches_per_step}; give more batches in a step, or start fewer processes"
            )

    def _whole(self, chosen: Sequence[int]) -> list[int]:
        """Return the batches of this process, in the order of the step."""
        cost = {k: self._cost(k) for k in chosen}
        loads, owner = [0] * self.processes.count, {}
        for k in sorted(chosen, key=lambda k: (-cost[k], k)):
            owner[k] = loads.index(min(loads))
            loads[owner[k]] += cost[k]
        return [k for k in chosen if owner[k] == self.processes.rank]

    def _cost(self, k: int) -> int:
        return self.batches.cost(k) if isinstance(self.batches, PlannedBatches) else self.batches.n_terms([k])
