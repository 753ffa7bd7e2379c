"""What a prediction will take, before it begins: memory, disk, and whether and into how many parts it is divided."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.errors import InputError
from nearsight.inference.in_parts import why_whole
from nearsight.launch import Launch
from nearsight.memory import free_bytes
from nearsight.nn.model import HamiltonianModel
from nearsight.operators.two_centre_overlap import TwoCentreOverlap
from nearsight.partition.bisection import Bisection
from nearsight.partition.regions import Regions
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

SHARE = 0.5
"""Part of the free memory that a prediction may take where nobody says how much."""
MOST_ATOMS = 8000
"""Atoms in a part: more make it no faster, and a run that is stopped loses the part under way."""
LEAST_ATOMS = 500
"""Atoms in a part where there is hardly any memory."""
_SAMPLED, _SAMPLES = 200, 3
_FIXED = 0.6e9
"""Bytes: the program, the network and chunks under way."""
_WHOLE_EDGE, _CLUSTER_EDGE = 350.0, 300.0
"""Bytes for each directed edge of a graph while it is built and used, of a whole prediction and of a part, measured."""
_OVERLAP_EDGE = 200.0
"""Bytes for each pair of S with an end in the part, both directions of it counted."""
_ATOM = 12_000.0
"""Bytes for each atom's tables and what they are made of."""
_PAIR = 20.0
"""Bytes of a stored pair's atoms and shift."""


@dataclass(frozen=True, eq=False)
class PredictionPlan:
    """How a structure is going to be predicted.

    Attributes
    ----------
    count : int
        Number of parts, as `divided` makes them; 0 where the structure is predicted at once.
    peak : float
        Planned memory, bytes.
    disk : float
        Planned size of the result, bytes.
    reason : str
        What was decided and why, in a line.
    """

    count: int
    peak: float
    disk: float
    reason: str

    def check_disk(self, folder: Path, there: int = 0) -> None:
        """Refuse a result that the disk cannot hold.

        Parameters
        ----------
        folder : Path
            Where it is written.
        there : int
            Bytes of it that are written already.

        Raises
        ------
        InputError
            Less is free in the folder.
        """
        free, needed = shutil.disk_usage(folder).free, self.disk - there
        if needed > free:
            raise InputError(
                f"expected {needed / 1e9:.1f} GB of disk for the result, got {free / 1e9:.1f} GB free in {folder}; "
                "give another place, or leave S out (--no-overlap)"
            )


def plan_prediction(
    model: HamiltonianModel,
    structure: Structure,
    *,
    overlap: TwoCentreOverlap | None = None,
    memory_gb: float | None = None,
    in_parts: bool | None = None,
    launch: Launch | None = None,
    begun: int | None = None,
) -> PredictionPlan:
    """Decide how a structure is predicted.

    Parameters
    ----------
    model : HamiltonianModel
        The model.
    structure : Structure
        The atoms.
    overlap : TwoCentreOverlap, optional
        S as functions of distance, where it is predicted, too.
    memory_gb : float, optional
        Memory that may be planned, 10⁹ bytes; by default half of what is free.
    in_parts : bool, optional
        Whether it is divided; by default where the memory would not suffice for the whole.
    launch : Launch, optional
        The processes that share the parts, and which of them share the memory of this machine; alone by default.
    begun : int, optional
        Number of parts of a prediction that goes on. It keeps them, whatever the memory, unless that was given.

    Raises
    ------
    InputError
        It must be divided and the model sees the whole structure, or the memory is too small for any part, or for those
        of the prediction that goes on.
    """
    launch = launch or Launch()
    processes = launch.local_count
    need = _Need.of(model, structure, overlap)
    whole, disk = need.whole(len(structure)), need.disk(len(structure))
    # Where nobody says how much, little free memory means small parts, and no refusal.
    least = processes * need.part(LEAST_ATOMS)
    budget = 1e9 * memory_gb if memory_gb is not None else max(SHARE * free_bytes(), least)
    fits = whole <= budget
    if in_parts is None and begun is not None:
        in_parts = True
    if in_parts is None:
        in_parts = not fits and model.reach is not None and whole > need.part(1)
    may = f"{budget / 1e9:.1f} GB may be used"
    if not in_parts:
        why = "the model sees the whole structure" if model.reach is None else "parts would take no less"
        alone = "" if fits else f"; it may not suffice, but {why}"
        return PredictionPlan(0, whole, disk, f"at once: {whole / 1e9:.1f} GB planned, {may}{alone}")
    if model.reach is None:
        raise InputError(why_whole(model))
    wanted = max(launch.count, -(-len(structure) // need.largest_part(budget / processes)))
    sizes = np.bincount(divided(structure, begun or wanted))
    largest = int(sizes.max())
    peak, around = need.part(largest), need.around(largest, model.reach.of_atoms)
    if begun is not None and memory_gb is not None and len(sizes) < wanted and processes * peak > budget:
        raise InputError(
            f"expected at least {processes * peak / 1e9:.1f} GB of memory to go on with the {begun} parts that this "
            f"prediction was begun with, got {memory_gb:g} GB; give more, or remove the folder of its parts beside the "
            "file to begin again with smaller ones"
        )
    parts = f"{len(sizes)} parts (bisection) of at most {largest:,} atoms" if len(sizes) > 1 else "one part"
    parts += ", as it was begun" if begun is not None else ""
    each = f" in each of {launch.count} processes" if launch.count > 1 else ""
    here = " on each machine" if launch.count > processes else ""
    return PredictionPlan(
        len(sizes),
        peak,
        disk,
        f"in {parts}, each with {around:.1f} times as many around: {peak / 1e9:.1f} GB planned{each}, {may}{here}; "
        f"at once it would take {whole / 1e9:.1f} GB",
    )


def divided(structure: Structure, count: int) -> np.ndarray:
    """Return the part (N,) of each atom in a division into at most `count` boxes, none of them empty."""
    return np.unique(Bisection(min(count, len(structure))).assign(structure), return_inverse=True)[1]


@dataclass(frozen=True)
class _Need:
    """What predictions of a structure take, from what an atom of it has around it."""

    cutoff: float
    neighbours: float
    of_atoms: float
    of_rows: float
    orbitals: float
    overlap_range: float

    @classmethod
    def of(cls, model: HamiltonianModel, structure: Structure, overlap: TwoCentreOverlap | None) -> _Need:
        reach, cutoff = model.reach, model.config.cutoff
        return cls(
            cutoff,
            _neighbours(structure, cutoff),
            cutoff if reach is None else reach.of_atoms,
            cutoff if reach is None else reach.of_rows,
            float(model.basis.restricted(structure.numbers).sizes(structure.numbers).mean()),
            0.0 if overlap is None else overlap.range,
        )

    def whole(self, atoms: int) -> float:
        return _FIXED + atoms * (self.neighbours * _WHOLE_EDGE + _ATOM)

    def part(self, atoms: int) -> float:
        edges = self.neighbours * _CLUSTER_EDGE
        first = atoms * self.around(atoms, self.of_atoms) * edges + atoms * _ATOM
        second = atoms * self.around(atoms, self.of_rows) * (edges + _ATOM)
        both_ends = (1 + self.around(atoms, self.overlap_range)) / 2
        of_overlap = atoms * both_ends * self._within(self.overlap_range) * _OVERLAP_EDGE
        return _FIXED + max(first, second, of_overlap)

    def around(self, atoms: int, reach: float) -> float:
        """How many times as many atoms a cluster has as a part."""
        density = self.neighbours / (4 / 3 * math.pi * self.cutoff**3)
        if density == 0:
            return 1.0
        return float((1 + 2 * reach / (atoms / density) ** (1 / 3)) ** 3)

    def largest_part(self, budget: float) -> int:
        """Return the atoms of the largest part that fits."""
        if self.part(1) > budget:
            raise InputError(
                f"expected at least {self.part(1) / 1e9:.1f} GB of memory to predict in parts, got "
                f"{budget / 1e9:.1f} GB"
            )
        low, high = 1, MOST_ATOMS
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.part(middle) <= budget else (low, middle - 1)
        return low

    def disk(self, atoms: int) -> float:
        pairs = 1 + self.neighbours / 2
        pairs_of_overlap = (1 + self._within(self.overlap_range) / 2) if self.overlap_range else 0.0
        return atoms * (pairs + pairs_of_overlap) * (8 * self.orbitals**2 + _PAIR)

    def _within(self, distance: float) -> float:
        """Atoms within a distance of one."""
        return self.neighbours * (distance / self.cutoff) ** 3


def _neighbours(structure: Structure, cutoff: float) -> float:
    """Mean number of neighbours of some atoms that lie together, here and there in the structure."""
    count = max(1, len(structure) // _SAMPLED)
    regions = Regions(structure, divided(structure, count))
    chosen = np.unique(np.linspace(0, len(regions) - 1, _SAMPLES).astype(int))
    edges = atoms = 0
    for region in chosen:
        cluster = regions.cluster(int(region), cutoff)
        edges += len(build_graph(cluster.structure, cutoff).leaving(cluster.own)[0])
        atoms += len(cluster.own)
    return edges / atoms
