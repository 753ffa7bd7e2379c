"""Fine-tuning: it starts where the given model stands, new elements come in, known pairs stay, mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearsight.errors import CheckpointError, ConfigError
from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import TrainingConfig, load_config, training_config
from nearsight.learning.training import check_run_folder, train
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.loading import load_model
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import CUTOFF, random_calculation
from tests.listening import listening
from tests.random_cases import HFO2_SZV, random_hfo2, random_operator

CALCULATIONS = [random_calculation(1), random_calculation(2)]
BOND = {
    "architecture": "nearsight",
    "cutoff": CUTOFF,
    "density_functions": 4,
    "channels": 4,
    "hidden": [8, 4],
    "bond_functions": 6,
    "l_max": 4,
}
XIA = {
    "architecture": "xia2025",
    "cutoff": CUTOFF,
    "l_max": 4,
    "channels": 4,
    "hidden": 4,
    "alpha": 4,
    "value": 4,
    "feed_forward": 8,
}
OPTIMIZER = {
    "kind": "adamw",
    "schedule": "cosine",
    "weight_decay": 0.0,
    "warmup_steps": 0,
    "clip_norm": None,
    "ema_decay": None,
    "learning_rate": 1e-2,
    "minimum_learning_rate": 1e-5,
}
SLABS = {"axis": 0, "count": 3, "thickness": None}
STILL = {**OPTIMIZER, "learning_rate": 1e-13, "minimum_learning_rate": 0.0}
WITH_TITANIUM = BasisSet("SZV", {**HFO2_SZV.shells, 22: (0, 0, 1, 2)}, {})


def config(folder: Path, **changes: Any) -> TrainingConfig:
    return training_config(
        {
            "optimizer": OPTIMIZER,
            "partition": {"bonds_per_batch": 150, "axis": 0, "count": 3, "thickness": None},
            "data": {"train": ["a.h5"], "validation_slabs": 0},
            "max_epochs": 1,
            "run_dir": str(folder),
            "precision": "float64",
            **changes,
        }
    )


def run(
    folder: Path, data: list[Calculation] = CALCULATIONS, notes: list[str] | None = None, **changes: Any
) -> list[float]:
    """Losses of the same data as validation, after every epoch."""
    losses: list[float] = []
    train(
        config(folder, **changes),
        data,
        data,
        progress=listening(None, notes, lambda record: losses.append(float(record["validation_loss"]))),
    )
    return losses


def of_elements(numbers: list[int], seed: int, basis: BasisSet = HFO2_SZV) -> Calculation:
    """Equal numbers of some elements where HfO₂ has its atoms."""
    rng = np.random.default_rng(seed)
    base = random_hfo2(8, rng)
    structure = Structure(rng.permutation(np.resize(numbers, 24)), base.positions, base.cell, base.pbc)
    operator = random_operator(structure, build_graph(structure, CUTOFF), basis, rng)
    return Calculation(structure, basis, operator)


def bond_model(path: Path) -> NearsightModel:
    model = load_model(path)
    assert isinstance(model, NearsightModel)
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """A run and its losses."""
    folder = tmp_path_factory.mktemp("trained") / "old"
    return folder, run(folder, model=BOND, max_epochs=25)


@pytest.fixture(scope="module")
def trained_xia(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("trained") / "xia"
    return folder, run(folder, model=XIA, partition=SLABS, max_epochs=4)


def test_it_starts_at_the_loss_of_the_model_and_falls_below(tmp_path: Path, trained: tuple[Path, list[float]]) -> None:
    folder, losses = trained
    assert run(tmp_path / "still", start_from=str(folder), optimizer=STILL) == pytest.approx([min(losses)], rel=1e-9)
    further = run(tmp_path / "further", start_from=str(folder), max_epochs=25)
    assert further[-1] < min(losses) < losses[0]
    old, new = bond_model(folder), bond_model(tmp_path / "further")
    for pair, values in old.scale.values.items():
        np.testing.assert_array_equal(new.scale.values[pair], values)
    assert torch.equal(new.network.scalar_spread, old.network.scalar_spread)
    assert new.provenance["started_from"] == "old/best.safetensors, trained on a.h5 (Hf8O16)"


def test_it_starts_from_the_weights_of_a_single_file_in_another_precision(
    tmp_path: Path, trained: tuple[Path, list[float]]
) -> None:
    file = trained[0] / "last.safetensors"
    run(tmp_path / "run", start_from=str(file), optimizer=STILL, precision="float32")
    old, new = bond_model(file), bond_model(tmp_path / "run")
    for key, weight in old.network.state_dict().items():
        assert torch.equal(new.network.state_dict()[key], weight.float())


def test_a_stopped_run_continues_without_the_model_it_started_from(
    tmp_path: Path, trained: tuple[Path, list[float]]
) -> None:
    start = tmp_path / "start.safetensors"
    start.write_bytes((trained[0] / "best.safetensors").read_bytes())
    run(tmp_path / "run", start_from=str(start), max_epochs=2)
    start.unlink()
    for epochs, named in ((3, {"start_from": str(start)}), (4, {})):
        notes: list[str] = []
        assert len(run(tmp_path / "run", notes=notes, max_epochs=epochs, **named)) == 1
        assert f"continuing at epoch {epochs - 1}" in notes
    stored = load_config(tmp_path / "run" / "config.yaml")
    assert (stored.start_from, stored.model) == (str(start), bond_model(tmp_path / "run").config)
    assert "started_from" in bond_model(tmp_path / "run").provenance
    with pytest.raises(ConfigError, match="got another start_from"):
        run(tmp_path / "run", start_from=str(trained[0]))


def test_a_run_is_not_turned_into_fine_tuning(trained: tuple[Path, list[float]]) -> None:
    with pytest.raises(ConfigError, match="got another start_from"):
        run(trained[0], model=BOND, start_from=str(trained[0]))


def test_pairs_missing_in_the_data_stay_known_where_nothing_is_fitted_anew(
    tmp_path: Path, trained: tuple[Path, list[float]]
) -> None:
    run(tmp_path / "run", [of_elements([72], 5)], start_from=str(trained[0]), optimizer=STILL)
    structure = CALCULATIONS[0].structure
    operators = [predict_hamiltonian(bond_model(path), structure) for path in (trained[0], tmp_path / "run")]
    np.testing.assert_allclose(operators[1].values, operators[0].values, rtol=0, atol=1e-9)


def test_new_elements_leave_the_networks_of_known_pairs_as_they_are(
    tmp_path: Path, trained: tuple[Path, list[float]]
) -> None:
    notes: list[str] = []
    data = [of_elements([8, 22, 72], seed, WITH_TITANIUM) for seed in (5, 6)]
    run(tmp_path / "run", data, notes, start_from=str(trained[0]), optimizer=STILL)
    old, new = bond_model(trained[0]), bond_model(tmp_path / "run")
    assert set(new.network.layouts) - set(old.network.layouts) == {(8, 22), (22, 22), (22, 72)}
    for pair in old.network.layouts:
        theirs = dict(old.network.pair(pair).named_parameters())
        for name, weight in new.network.pair(pair).named_parameters():
            if not name.startswith("last."):
                torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-11)
    for k, j in ((0, 0), (2, 1)):
        torch.testing.assert_close(new.network.scalar_mean[k, :2], old.network.scalar_mean[j, :2], rtol=0, atol=0)
    assert (
        "pairs of elements: O-O, O-Hf, Hf-Hf as in the model that this run starts from, O-Ti, Ti-Ti, Ti-Hf new" in notes
    )
    assert not any("no longer known" in note for note in notes)
    predict_hamiltonian(new, CALCULATIONS[0].structure)


def test_pairs_that_are_lost_are_named(tmp_path: Path, trained: tuple[Path, list[float]]) -> None:
    notes: list[str] = []
    data = [of_elements([8, 22], 5, WITH_TITANIUM)]
    run(tmp_path / "run", data, notes, start_from=str(trained[0]))
    assert (
        "no longer known: O-Hf, Hf-Hf, of which the data hold none within 4 Å; include old data to keep them" in notes
    )


def test_training_with_new_elements_lowers_the_loss(tmp_path: Path, trained: tuple[Path, list[float]]) -> None:
    data = [of_elements([8, 22, 72], 5, WITH_TITANIUM)]
    losses = run(tmp_path / "run", data, start_from=str(trained[0]), max_epochs=20)
    assert losses[-1] < 0.96 * losses[0]


def test_the_model_section_is_that_of_the_file(tmp_path: Path, trained: tuple[Path, list[float]]) -> None:
    start, given = str(trained[0]), {**BOND, "channels": 5, "hidden": [8]}
    with pytest.raises(ConfigError, match=r"model\.channels=4 model\.hidden=\[8, 4\].*got another model\.channels, "):
        check_run_folder(config(tmp_path / "run", start_from=start, model=given))
    with pytest.raises(ConfigError, match=r"model\.architecture=nearsight.*got another model\.architecture"):
        check_run_folder(config(tmp_path / "run", start_from=start, model=XIA, partition=SLABS))
    assert not check_run_folder(config(tmp_path / "run", start_from=start, model={"channels": 4}))
    with pytest.raises(CheckpointError, match="got nothing of that name"):
        check_run_folder(config(tmp_path / "run", start_from=str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("shells", "numbers", "message"),
    [
        ({8: (0, 1, 2), 72: (0, 0, 1, 2)}, [8, 72], r"expected the basis of .*\(O 1s1p\), got O 1s1p1d"),
        ({8: (0, 1, 2), 22: (0, 0, 1)}, [8, 22], r"expected the basis of .*\(O 1s1p\), got O 1s1p1d"),
        ({22: (0, 0, 1)}, [22], r"expected data with elements .*O 1s1p, Hf 2s1p1d.*got Ti 2s1p"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(
    tmp_path: Path,
    trained: tuple[Path, list[float]],
    shells: dict[int, tuple[int, ...]],
    numbers: list[int],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", [of_elements(numbers, 5, BasisSet("other", shells, {}))], start_from=str(trained[0]))


def test_the_published_network_starts_from_weights(tmp_path: Path, trained_xia: tuple[Path, list[float]]) -> None:
    folder, losses = trained_xia
    still = run(tmp_path / "still", start_from=str(folder), optimizer=STILL, partition=SLABS)
    assert still == pytest.approx([min(losses)], rel=1e-9)
    fewer = [of_elements([72], 5)]
    for epochs in (1, 2):
        run(tmp_path / "fewer", fewer, start_from=str(folder), max_epochs=epochs, partition=SLABS)
    model = load_model(tmp_path / "fewer")
    assert isinstance(model, Xia2025Model)
    assert model.basis == HFO2_SZV
    assert model.provenance["started_from"].startswith("xia/best.safetensors")


def test_the_published_network_takes_no_new_elements(tmp_path: Path, trained_xia: tuple[Path, list[float]]) -> None:
    with pytest.raises(ConfigError, match="got Ti: outputs of the network xia2025 are padded"):
        run(
            tmp_path / "run",
            [of_elements([8, 22, 72], 5, WITH_TITANIUM)],
            start_from=str(trained_xia[0]),
            partition=SLABS,
        )
