"""NearsightModel: the architecture `nearsight` as training, prediction and files see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from nearsight.nn.architectures.nearsight.atom_tables import atom_tables
from nearsight.nn.architectures.nearsight.batches import BondBatch
from nearsight.nn.architectures.nearsight.calibration import fit_uncertainty
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.nn.architectures.nearsight.density_functional import InformedFunctional
from nearsight.nn.architectures.nearsight.objective import BondObjective
from nearsight.nn.architectures.nearsight.prediction import BondBlocks
from nearsight.nn.architectures.nearsight.training import begin, divide
from nearsight.nn.architectures.nearsight.validation import calculations_of, validated
from nearsight.nn.batches import PlannedBatches
from nearsight.nn.config import LossSection
from nearsight.nn.model import CHUNK, Reach, TrainingData, TrainingTask, edges_within
from nearsight.nn.prediction import Prediction, pairs_of
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent
from nearsight.self_consistency.solver import DensityFunctional
from nearsight.structures.cluster_graph import graph_at
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class NearsightModel(BaselinePlusNetwork):
    """A linear baseline, and an O(2)-equivariant network per pair of elements on its residual, in bond frames."""

    @classmethod
    def begin(cls, task: TrainingTask) -> NearsightModel:
        """Return a model with its baseline fitted to the training structures, or the one that the run starts from."""
        return begin(cls, task)

    def prepare(self, task: TrainingTask) -> TrainingData:
        """Divide the bonds of all structures at random into batches."""
        return divide(self, task)

    def objective(self, loss: LossSection) -> BondObjective:
        """Return the pseudo-Huber error; its parameters are in the batches."""
        return BondObjective()

    def finalise(self, data: TrainingData, progress: Progress = silent, *, stopped: bool = False) -> NearsightModel:
        """Return the model with its uncertainty, and with its informed terms where they help."""
        training, validation = (cast("PlannedBatches[BondBatch]", b) for b in (data.training, data.validation))
        progress(Event("calibrating the uncertainty"))
        model = replace(self, uncertainty=fit_uncertainty(self, training, validation))
        if self.informed is None or stopped:
            return model
        terms = replace(self.informed, uncertainty=fit_uncertainty(self.informed, training, validation))
        known = calculations_of(training), calculations_of(validation)
        return validated(model, terms, lambda structure: model.predict(structure).operator(), *known, progress)

    @property
    def density_functional(self) -> DensityFunctional | None:
        """H as a functional of the density, where it was learnt and found to help."""
        terms = self.informed
        return None if terms is None or not terms.residual else InformedFunctional(terms)

    def predict(
        self,
        structure: Structure,
        known: Calculation | None = None,
        *,
        parts: np.ndarray | None = None,
        hermitian: bool = True,
        chunk: int = CHUNK,
        progress: Progress = silent,
    ) -> Prediction:
        """Predict H of a structure, to be read block after block (see `HamiltonianModel.predict`).

        Parameters
        ----------
        structure, known, parts, hermitian, chunk, progress
            Arguments of `HamiltonianModel.predict`; `parts` is checked but not needed, as each bond is computed by
            itself.

        Returns
        -------
        Prediction
            Blocks in eV, with expected errors where the model is calibrated.
        """
        self.check(structure, known)
        graph, _ = edges_within(self, structure, parts)
        h0 = None if known is None else self.baseline.h0_of(known)
        blocks = BondBlocks(self, structure, graph, pairs_of(graph, half=hermitian), chunk, progress, h0)
        basis = self.basis.restricted(structure.numbers)
        expected = None if self.uncertainty is None else blocks
        return Prediction(structure.numbers, basis, blocks.pairs, hermitian, blocks.groups(), expected)

    @property
    def reach(self) -> Reach | None:
        """Two cutoffs for atoms, one with a strictly local model, one more for rows; no limit with long range."""
        of_atoms = self.baseline.reach
        return None if of_atoms is None else Reach(of_atoms, self.config.cutoff)

    @property
    def mean_to_rms(self) -> tuple[float, float] | None:
        """Ratios of mean absolute to r.m.s. errors, on site and between atoms; None where it is not calibrated."""
        known = self.uncertainty
        return None if known is None else (known.on_site_mean_to_rms, known.mean_to_rms)

    def atom_tables(self, structure: Structure, atoms: np.ndarray) -> Mapping[str, np.ndarray]:
        """Compute on-site blocks, features and leverages of some atoms (see `HamiltonianModel.atom_tables`)."""
        self.check(structure)
        self.network.eval()
        return atom_tables(
            self, structure, graph_at(structure, self.config.cutoff, self._seen(structure, atoms)), None, atoms
        )

    def _seen(self, structure: Structure, atoms: np.ndarray) -> np.ndarray:
        """Return atoms of a cluster whose neighbours matter for the tables of given ones."""
        if self.config.strictly_local:
            return atoms
        own, margin = structure.positions[atoms], self.config.cutoff * (1 + 1e-9)
        lowest, highest = own.min(axis=0) - margin, own.max(axis=0) + margin
        return np.flatnonzero(((structure.positions >= lowest) & (structure.positions <= highest)).all(axis=1))

    def predict_rows(
        self,
        structure: Structure,
        rows: np.ndarray,
        tables: Mapping[str, np.ndarray],
        *,
        chunk: int = CHUNK,
        progress: Progress = silent,
    ) -> Prediction:
        """Predict half of the rows of some atoms (see `HamiltonianModel.predict_rows`)."""
        graph = graph_at(structure, self.config.cutoff, rows)
        pairs = pairs_of(graph, half=True, rows=rows)
        blocks = BondBlocks(self, structure, graph, pairs, chunk, progress, None, tables)
        expected = None if self.uncertainty is None else blocks
        basis = self.basis.restricted(structure.numbers)
        return Prediction(structure.numbers, basis, pairs, True, blocks.groups(), expected)

    def describe(self) -> str:
        """Return one line that says how the network is computed here."""
        return self.network.describe_path()
