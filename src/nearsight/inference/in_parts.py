"""Predictions of any size, region by region: memory holds one region, whatever the size of the structure.

What is known of atoms (on-site blocks and features: some kB an atom) is computed first, then the rows of H, and of S,
of those regions whose neighbours' atoms are known. Each region comes as a cluster with all that it sees
(`partition.regions`), so the whole structure's edges are never in memory, and the blocks are those of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nearsight.errors import InputError
from nearsight.inference.tables import Tables
from nearsight.nn.model import HamiltonianModel
from nearsight.nn.prediction import Prediction
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.store import Part
from nearsight.operators.two_centre_overlap import OverlapRows, TwoCentreOverlap
from nearsight.partition.regions import Cluster, Regions

PAIRS_AT_ONCE = 20_000
"""Blocks of S that are computed together."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one region, whose blocks are computed while they are read.

    Attributes
    ----------
    atoms : (n,) array of int64
        The region's atoms in the whole structure.
    own : (n,) array of int64
        The same atoms in the cluster.
    source, target : (P,) array of int64
        The atoms of each pair of H in the whole structure; half of them, sorted.
    shift : (P, 3) array of int64
        The cell of the second atom.
    prediction : Prediction
        The blocks of H, pairs numbered as in the cluster.
    overlap : OverlapOfRows or None
        S of the same atoms.
    """

    atoms: np.ndarray
    own: np.ndarray
    source: np.ndarray
    target: np.ndarray
    shift: np.ndarray
    prediction: Prediction
    overlap: OverlapOfRows | None


@dataclass(frozen=True, eq=False)
class OverlapOfRows:
    """The pairs of S in the whole structure, and their blocks, computed while they are read."""

    source: np.ndarray
    target: np.ndarray
    shift: np.ndarray
    rows: OverlapRows

    @classmethod
    def of(cls, known: TwoCentreOverlap, cluster: Cluster) -> OverlapOfRows:
        """Find the pairs of a region's rows."""
        rows = OverlapRows.of(cluster.structure, known, cluster.own)
        return cls(*cluster.pairs(rows.source, rows.target), rows)

    def values(self) -> Iterator[np.ndarray]:
        """Yield the blocks, some pairs at a time."""
        for first in range(0, len(self.source), PAIRS_AT_ONCE):
            yield self.rows.values(slice(first, min(first + PAIRS_AT_ONCE, len(self.source))))


@dataclass(frozen=True, eq=False)
class PredictionInParts:
    """H, and S where it is known, of a structure that is predicted region by region.

    Attributes
    ----------
    model : HamiltonianModel
        A model with a `reach`.
    regions : Regions
        The structure and its regions.
    tables : Tables
        Keeps what the first pass computed.
    overlap : TwoCentreOverlap or None
        S as functions of distance, where it is wanted.

    Raises
    ------
    InputError
        The model cannot predict rows of a structure alone.
    """

    model: HamiltonianModel
    regions: Regions
    tables: Tables
    overlap: TwoCentreOverlap | None = None

    def __post_init__(self) -> None:
        if self.model.reach is None:
            raise InputError(why_whole(self.model))

    def compute_atoms(self, region: int) -> None:
        """Compute what is known of the atoms of a region; all regions before the first rows."""
        reach = self.model.reach
        assert reach is not None
        cluster = self.regions.cluster(region, reach.of_atoms)
        self.tables.put(region, self.model.atom_tables(cluster.structure, cluster.own))

    def rows(self, region: int) -> Rows:
        """Return the rows of a region."""
        reach = self.model.reach
        assert reach is not None
        cluster = self.regions.cluster(region, reach.of_rows)
        tables = self.tables.of(cluster.atoms)
        prediction = self.model.predict_rows(cluster.structure, cluster.own, tables)
        pairs = cluster.pairs(prediction.pairs.source, prediction.pairs.target)
        overlap = None
        if self.overlap is not None:
            overlap = OverlapOfRows.of(self.overlap, self.regions.cluster(region, self.overlap.range))
        return Rows(cluster.atoms[cluster.own], cluster.own, *pairs, prediction, overlap)

    def around(self, region: int) -> np.ndarray:
        """Return the regions whose atoms must be known for the rows of one, itself included, ascending."""
        reach = self.model.reach
        assert reach is not None
        return self.regions.near(region, reach.of_rows)

    def parts(self, done: Callable[[int], None] = lambda atoms: None) -> Iterator[Part]:
        """Compute everything, and hand over one region after another.

        Parameters
        ----------
        done : callable, optional
            Told of how many atoms the features, or the rows, are done.

        Yields
        ------
        Part
            The rows of a region, in memory.
        """
        around = [self.around(region) for region in range(len(self.regions))]
        last = {int(m): region for region, near in enumerate(around) for m in near}
        for region, near in enumerate(around):
            for m in near:
                if not self.tables.has(int(m)):
                    self.compute_atoms(int(m))
                    done(len(self.regions.atoms(int(m))))
            yield _in_memory(self, region)
            done(len(self.regions.atoms(region)))
            for m in near:
                if last[int(m)] == region:
                    self.tables.drop(int(m))


def why_whole(model: HamiltonianModel) -> str:
    """Say why a model cannot predict a structure in parts."""
    return (
        f"expected a model that sees only what is near, to predict in parts, got one of the architecture "
        f"{model.architecture} that sees the whole structure (long range, H0) or does not say how far it sees"
    )


def _in_memory(prediction: PredictionInParts, region: int) -> Part:
    rows, structure = prediction.rows(region), prediction.regions.structure
    basis = prediction.model.basis.restricted(structure.numbers)
    values = np.concatenate([values for _, values in rows.prediction.blocks()])
    h = BlockOperator(structure.numbers, basis, rows.source, rows.target, rows.shift, values, False)
    s = None
    if rows.overlap is not None:
        o = rows.overlap
        flat = np.concatenate([*o.values()])
        s = BlockOperator(structure.numbers, o.rows.known.basis, o.source, o.target, o.shift, flat, False)
    errors = rows.prediction.expected_errors
    estimate = None if errors is None else errors.of_blocks
    return Part(region, len(prediction.regions), rows.atoms, h, s, estimate)
