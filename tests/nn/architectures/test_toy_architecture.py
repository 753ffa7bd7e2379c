"""A third architecture in one file, registered by one line: splines of the distance, for elements with one s shell."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch

from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.errors import ConfigError, InputError
from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import training_config
from nearsight.learning.training import train
from nearsight.nn.architectures.registry import Architecture, register
from nearsight.nn.config import ModelSection
from nearsight.nn.loading import load_model
from nearsight.nn.model import HamiltonianModel, Objective, TrainingData, edges_within
from nearsight.nn.prediction import Prediction, pairs_of
from nearsight.operators.symmetry import hermiticity_error
from nearsight.orbitals.basis import BasisSet
from nearsight.progress import StopToken
from nearsight.units import HARTREE_IN_EV
from tests.learning.random_calculation import CUTOFF, random_calculation
from tests.listening import listening

BASIS = BasisSet("one s shell", {8: (0,), 72: (0,)}, {})


class SplineConfig(ModelSection):
    architecture: Literal["splines"] = "splines"
    functions: int = 6


class Structures(list):  # of (features, kind of pair, target)
    def n_terms(self, chosen: Any) -> int:
        return sum(len(self[k][2]) for k in chosen)


class SquaredError(Objective):
    def sums(self, network: Any, batch: Any) -> torch.Tensor:
        error = ((batch[0] * network(batch[1])).sum(dim=1) - batch[2]).square().sum()
        return torch.stack([error, torch.zeros_like(error)])


@dataclass(frozen=True, eq=False)
class SplineModel(HamiltonianModel):
    config: SplineConfig
    basis: BasisSet
    network: torch.nn.Embedding
    provenance: dict[str, str] = field(default_factory=dict)
    architecture: ClassVar[str] = "splines"

    @classmethod
    def from_file(cls, config: Any, basis: Any, metadata: Any, tensors: Any, dtype: Any) -> SplineModel:
        zero = torch.zeros(3, config.functions + 1, dtype=dtype)
        return cls(config, basis, torch.nn.Embedding.from_pretrained(zero, freeze=False))

    @classmethod
    def begin(cls, task: Any) -> SplineModel:
        if any(c.basis.shells != BASIS.shells for c in task.training):
            raise ConfigError("expected one s shell per element for the architecture splines, got others")
        return cls.from_file(task.config.model, BASIS, {}, {}, task.dtype)

    def prepare(self, task: Any) -> TrainingData:
        sets = (Structures(map(self._batch, own)) for own in (task.training, task.validation))
        return TrainingData(task.config.partition, *sets)

    def objective(self, loss: Any) -> SquaredError:
        return SquaredError()

    def predict(self, structure, known=None, *, parts=None, hermitian=True, chunk=0, progress=None) -> Prediction:
        self.check(structure, known)
        pairs, features, kind = self._features(structure, hermitian)
        values = (features * self.network(kind)).sum(dim=1).detach().double().numpy() * HARTREE_IN_EV
        return Prediction(structure.numbers, self.basis, pairs, hermitian, iter([(slice(len(pairs)), values)]))

    def _features(self, structure: Any, half: bool) -> tuple[Any, torch.Tensor, torch.Tensor]:
        graph, _ = edges_within(self, structure, None)
        pairs, heavy, count = pairs_of(graph, half), structure.numbers // 72, self.config.functions
        features, bonds = np.eye(1, count + 1).repeat(len(pairs), 0), pairs.edge >= 0
        distance = np.linalg.norm(graph.vector[pairs.edge[bonds]], axis=1)
        features[bonds] = np.pad(RadialFunctions(self.config.cutoff, count)(distance), ((0, 0), (1, 0)))
        return pairs, torch.tensor(features, dtype=self.dtype), torch.tensor(heavy[pairs.source] + heavy[pairs.target])

    def _batch(self, calculation: Any) -> tuple[torch.Tensor, ...]:
        pairs, *inputs = self._features(calculation.structure, False)
        h = calculation.require_hamiltonian()
        return *inputs, torch.tensor(h.values[h.find(pairs.source, pairs.target, pairs.shift)] / HARTREE_IN_EV)


register(Architecture("splines", SplineModel, SplineConfig))


@pytest.mark.exact
def test_it_trains_resumes_predicts_and_is_refused(tmp_path: Path) -> None:
    def run(name: str, calculation: Any, stop_at: int = 0) -> list[dict[str, Any]]:
        token, records = StopToken(), []
        listener = listening(records, at_record=lambda r: token.stop() if r["epoch"] == stop_at else None)
        tree = {"model": section, "optimizer": {"learning_rate": 0.05}, "precision": "float64", "max_epochs": 60}
        config = training_config({**tree, "data": {"train": ["a.h5"]}, "run_dir": str(tmp_path / name)})
        train(config, [calculation], progress=listener, stop=token)
        return records

    section, bare = {"architecture": "splines", "cutoff": CUTOFF}, random_calculation(False)
    truth = SplineModel.from_file(SplineConfig(cutoff=CUTOFF), BASIS, {}, {}, torch.float64)
    torch.nn.init.normal_(truth.network.weight, std=0.1)
    data = replace(bare, basis=BASIS, hamiltonian=predict_hamiltonian(truth, bare.structure))
    whole, (first, second) = run("whole", data), (run("cut", data, stop_at=20), run("cut", data))
    assert whole[-1]["loss"] < 1e-2 * whole[0]["loss"]
    assert [r["loss"] for r in whole] == [r["loss"] for r in first + second]
    found = predict_hamiltonian(load_model(tmp_path / "cut"), bare.structure)
    assert hermiticity_error(found) == 0
    assert np.abs(found.values - data.hamiltonian.values).mean() < 0.2 * np.abs(data.hamiltonian.values).mean()
    with pytest.raises(ConfigError, match="expected one s shell per element"):
        run("other", bare)
    with pytest.raises(InputError, match=r"expected a structure of the model's elements \(O, Hf\), got Ti"):
        predict_hamiltonian(truth, replace(bare.structure, numbers=np.full(24, 22)))
