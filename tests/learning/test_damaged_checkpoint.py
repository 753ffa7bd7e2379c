"""A checkpoint is a file like any other: what it says is believed only where it can be, and an error names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nearsight.errors import CheckpointError
from nearsight.learning.checkpoint import TrainingState, load_checkpoint
from nearsight.learning.config import load_config
from nearsight.learning.optimisation import Schedule, make_optimizer, moving_average
from nearsight.nn.loading import load_model

RUN = Path(__file__).parents[1] / "data" / "version_0_1_0" / "nearsight"
FIRST = "model.mix.0"


def content() -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(str(RUN / "last.safetensors"), "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def load(path: Path) -> tuple[TrainingState, torch.optim.Optimizer]:
    model, config = load_model(RUN), load_config(RUN / "config.yaml").optimizer
    optimizer = make_optimizer(list(model.network.parameters()), config)
    average = None if config.ema_decay is None else moving_average(model.network, config.ema_decay)
    return load_checkpoint(path, model, optimizer, Schedule(optimizer, config), average), optimizer


def changed(metadata: dict[str, str], key: str, **values: Any) -> None:
    tree = json.loads(metadata[key])
    (tree[0] if isinstance(tree, list) else tree).update(values)
    metadata[key] = json.dumps(tree)


def test_the_undamaged_one(tmp_path: Path) -> None:
    shutil.copy(RUN / "last.safetensors", tmp_path)
    state, optimizer = load(tmp_path / "last.safetensors")
    assert (state.epoch, state.step, state.best_epoch) == (4, 20, 2)
    assert optimizer.param_groups[0]["lr"] == 2.8598695490914957e-05
    assert optimizer.state_dict()["state"][0]["step"] == 20


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("progress", {"epoch": -1}),
        ("progress", {"epoch": "4"}),
        ("progress", {"step": 1.5}),
        ("progress", {"step_in_epoch": 21}),
        ("progress", {"epoch_sums": [0.0]}),
        ("progress", {"seconds": None}),
        ("progress", {"best_loss": float("nan")}),
        ("progress", {"another": 1}),
        ("optimizer_groups", {"lr": "1"}),
        ("optimizer_groups", {"lr": -1.0}),
        ("optimizer_groups", {"lr": 1e300}),
        ("optimizer_groups", {"params": [0, 1]}),
        ("scheduler", {"best": "low"}),
        ("scheduler", {"num_bad_epochs": {}}),
        ("scheduler", {"_last_lr": 1.0}),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, key: str, values: dict[str, Any]) -> None:
    metadata, tensors = content()
    changed(metadata, key, **values)
    save_file(tensors, tmp_path / "last.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"last\.safetensors: expected"):
        load(tmp_path / "last.safetensors")


@pytest.mark.parametrize("key", ["progress", "scheduler", "optimizer_groups", "basis", "model"])
@pytest.mark.parametrize("text", ["", "[" * 5000, "null", "[]", "{}"])
def test_metadata_that_are_something_else(tmp_path: Path, key: str, text: str) -> None:
    metadata, tensors = content()
    save_file(tensors, tmp_path / "last.safetensors", {**metadata, key: text})
    with pytest.raises(CheckpointError, match=r"last\.safetensors: expected"):
        load(tmp_path / "last.safetensors")


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (FIRST, torch.zeros(1)),
        ("raw." + FIRST.removeprefix("model."), torch.zeros(1)),
        ("optimizer.0.exp_avg", torch.zeros(1)),
        ("optimizer.0.another", torch.zeros(1)),
        ("optimizer.999.step", torch.zeros(())),
        ("optimizer.0.step", torch.tensor(float("nan"))),
        ("optimizer.0.step", torch.tensor(-3e38)),
        ("optimizer.0.step", torch.tensor(0.5)),
        ("optimizer.0.step", torch.tensor(3e38)),
        ("random", torch.zeros(3, dtype=torch.uint8)),
    ],
)
def test_tensors_of_another_network(tmp_path: Path, name: str, tensor: Tensor) -> None:
    metadata, tensors = content()
    save_file({**tensors, name: tensor}, tmp_path / "last.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"last\.safetensors: expected"):
        load(tmp_path / "last.safetensors")


@pytest.mark.parametrize(("moment", "value"), [("exp_avg", float("nan")), ("exp_avg_sq", -1.0)])
def test_moments_that_cannot_be(tmp_path: Path, moment: str, value: float) -> None:
    metadata, tensors = content()
    name = f"optimizer.0.{moment}"
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, tmp_path / "last.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"last\.safetensors: expected"):
        load(tmp_path / "last.safetensors")


def test_settings_are_those_of_the_configuration(tmp_path: Path) -> None:
    """A file does not switch on what the run does not use."""
    metadata, tensors = content()
    changed(metadata, "optimizer_groups", amsgrad=True, betas=[2.0, 2.0], weight_decay=1e9)
    changed(metadata, "scheduler", patience=-5, mode="x", factor="y")
    save_file(tensors, tmp_path / "last.safetensors", metadata)
    _, optimizer = load(tmp_path / "last.safetensors")
    group = optimizer.param_groups[0]
    assert (group["amsgrad"], tuple(group["betas"])) == (False, (0.9, 0.999))
    assert group["weight_decay"] < 1
