"""Plans: sizes are those of the tensors made, memory decides what is kept, and what is kept changes no result."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from nearsight import memory as host
from nearsight.errors import ConfigError
from nearsight.learning.config import TrainingConfig, load_config, training_config
from nearsight.learning.training import train
from nearsight.nn.architectures.xia2025 import memory_plan
from nearsight.nn.architectures.xia2025 import model as model_module
from nearsight.nn.architectures.xia2025.batches import plan_batches
from nearsight.nn.architectures.xia2025.config import Xia2025Config, Xia2025Loss, Xia2025Partition
from nearsight.nn.architectures.xia2025.memory_plan import LARGEST_CHUNK, SMALLEST_CHUNK, make_plan, tensor_bytes
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.batches import MemoryBudget, PlannedBatches, available_bytes
from nearsight.nn.loading import load_model
from nearsight.nn.model import TrainingTask
from nearsight.partition.partitioner import PARTITIONERS
from tests.learning.random_calculation import BASIS, random_calculation
from tests.learning.test_loop import SMALL
from tests.listening import listening
from tests.nn.architectures.xia2025.batches_of import make_batches, n_terms

CPU = torch.device("cpu")
SLABS = Xia2025Partition(axis=0, count=3, thickness=None)


def make_model(layers: int = 1, dtype: torch.dtype = torch.float32) -> Xia2025Model:
    return Xia2025Model.new(Xia2025Config(**{**SMALL["model"], "layers": layers}), BASIS, dtype, 0)


def make_config(folder: Path, **changes) -> TrainingConfig:
    return training_config({**SMALL, "run_dir": str(folder), **changes})


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sizes_and_terms_are_those_of_the_tensors(layers, folded, dtype):
    model, calculation = make_model(layers, dtype), random_calculation(folded, length=7.0)
    plans, batches = plan_batches(calculation, model, SLABS), make_batches(calculation, model, SLABS)
    assert len(plans) == len(batches) == 3
    for plan, batch in zip(plans, batches):
        # The table of what is padding has one row for each pair of elements.
        assert sum(tensor_bytes(plan).values()) == batch.nbytes - batch.targets.filled.nbytes
        assert len(batch.graph.frames) == plan.n_updated[0]
        for masked in (True, False):
            loss = make_config(Path(), loss={"masked": masked}).loss
            assert replace(plan, masked=masked).n_terms == n_terms(batch.targets, loss)


def test_a_halo_of_two_hops_needs_frames_of_few_edges():
    model, calculation = make_model(2), random_calculation()
    plan = plan_batches(calculation, model, SLABS)[1]
    assert plan.partition.n_labelled_edges < plan.n_updated[0] < plan.partition.n_edges
    assert plan.n_updated[1] == plan.partition.n_labelled_edges


@pytest.mark.exact
def test_pieces_are_kept_while_there_is_room():
    model, calculation = make_model(), random_calculation()
    plans = plan_batches(calculation, model, SLABS)
    sizes = [batch.nbytes for batch in make_batches(calculation, model, SLABS)]
    batches = PlannedBatches(plans, MemoryBudget(sizes[0] + sizes[1]))
    first = [batches[k] for k in range(3)]
    assert [batches[k] is first[k] for k in range(3)] == [True, True, False]
    again = batches[2]
    assert torch.equal(again.graph.frames, first[2].graph.frames)
    assert torch.equal(again.targets.values, first[2].targets.values)
    everything = PlannedBatches(plans)
    assert all(everything[k] is everything[k] for k in range(3))


def trajectory(folder: Path) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in record.items() if k != "seconds"} for record in log]
    return kept, load_model(folder / "last.safetensors").network.state_dict()


@pytest.mark.exact
@pytest.mark.parametrize("layers", [1, 2])
def test_pieces_made_when_needed_give_the_same_trajectory(tmp_path, monkeypatch, layers):
    monkeypatch.setattr(memory_plan, "LARGEST_CHUNK", SMALLEST_CHUNK)
    changes = {"model": {**SMALL["model"], "layers": layers}, "max_epochs": 3}
    built: list[int] = []
    monkeypatch.setattr(model_module, "PlannedBatches", counting(built))
    train(make_config(tmp_path / "kept", **changes), [random_calculation()], [])
    assert len(built) == 3
    notes: list[str] = []
    train(
        make_config(tmp_path / "made", **changes, memory_gb=1e-3),
        [random_calculation()],
        [],
        progress=listening(messages=notes),
    )
    assert len(built) == 3 + 3 * 3
    assert any("0.00 GB of them are kept, the others made when needed" in text for text in notes)
    (log, weights), (other_log, other_weights) = trajectory(tmp_path / "kept"), trajectory(tmp_path / "made")
    assert log == other_log
    assert all(torch.equal(weights[k], other_weights[k]) for k in weights)


def counting(built: list[int]) -> type[PlannedBatches]:
    """Plans that note each batch that is built."""

    class Counting(PlannedBatches):
        def __getitem__(self, index: int):
            if index not in self._kept:
                built.append(index)
            return super().__getitem__(index)

    return Counting


@pytest.mark.parametrize("layers", [1, 3])
def test_less_memory_means_fewer_kept_batches_then_smaller_chunks(layers):
    model = make_model(layers)
    plans = plan_batches(random_calculation(), model, SLABS)
    plans = [make_plan(plans, Xia2025Loss(), 1, available) for available in (10**11, 2 * 10**7, 10**7, 10**6, 0)]
    assert plans[0].budget == float("inf")
    assert plans[0].chunk == LARGEST_CHUNK
    assert plans[0].fits
    assert "all are kept" in plans[0].describe()
    assert [p.chunk for p in plans] == sorted((p.chunk for p in plans), reverse=True)
    assert [p.budget for p in plans] == sorted((p.budget for p in plans), reverse=True)
    assert plans[-1].chunk == SMALLEST_CHUNK
    assert plans[-1].budget == 0
    assert not plans[-1].fits
    assert "make partitions smaller" in plans[-1].describe()
    for plan in plans:
        if plan.fits and plan.budget < plan.batches:
            used = plan.largest + plan.step + plan.chunks + plan.budget
            assert used <= plan.available


def test_a_step_of_a_deep_network_grows_with_the_features_it_stores():
    steps = []
    for layers in (1, 2, 3):
        model = make_model(layers)
        [plan] = plan_batches(random_calculation(False), model, Xia2025Partition(kind="whole"))
        steps.append(memory_plan.step_bytes(plan, Xia2025Loss(), per_node=0))
    features = 4 * 25 * SMALL["model"]["channels"] * plan.partition.n_edges
    assert steps[2] - steps[1] in (0, features)
    bound = {1: 0, 2: 3 * features, 3: 4 * features}
    assert all(step >= bound[layers] for layers, step in zip((1, 2, 3), steps))


@pytest.mark.parametrize(("available", "fits"), [(10**11, True), (10**6, False)])
@pytest.mark.parametrize("data", [{}, {"validation_slabs": 0}, {"validation": ["other.h5"]}])
def test_whole_where_it_fits_and_slabs_where_slabs_validate(tmp_path, monkeypatch, available, fits, data):
    monkeypatch.setattr("nearsight.nn.model.available_bytes", lambda device, limit: available)
    config = make_config(tmp_path, partition={"kind": "auto", "axis": 0}, data={"train": ["random.h5"], **data})
    other = [random_calculation(seed=3)] if "validation" in data else []
    task = TrainingTask(config, [random_calculation()], other, CPU, torch.float32)
    kind = make_model().prepare(task).partition.kind
    assert kind == ("whole" if fits and data else "slabs")


def test_auto_is_decided_once(tmp_path):
    """A run goes on with the partition it began with, however much memory there is later."""
    config = make_config(
        tmp_path / "run",
        partition={"kind": "auto", "axis": 0, "count": 3},
        max_epochs=1,
        data={"train": ["random.h5"], "validation": ["other.h5"]},
    )
    notes: list[str] = []
    validation = [random_calculation(seed=3)]
    train(config, [random_calculation()], validation, progress=listening(messages=notes))
    assert "partition.kind=auto: whole, structures fit into memory" in notes
    said = "0.00 virtual atoms and 0.00 virtual edges for each labelled one, the largest partition 1.00 times the mean"
    assert f"1 partitions to train on, 1 for validation; {said}" in notes
    assert any(text.startswith("memory: ") for text in notes)
    assert any("compiled engine" in text or "torch in chunks" in text for text in notes)
    assert load_config(tmp_path / "run" / "config.yaml").partition.kind == "whole"
    less = config.model_copy(update={"memory_gb": 1e-3, "max_epochs": 2})
    result = train(less, [random_calculation()], validation, progress=listening(messages=notes))
    assert result.state.step == 2
    other = config.model_copy(update={"partition": Xia2025Partition(kind="slabs", axis=0, count=3)})
    with pytest.raises(ConfigError, match="partition"):
        train(other, [random_calculation()], validation)


def test_kinds_are_checked():
    with pytest.raises(ConfigError, match="slabs or bisection or metis to cut a structure, got auto"):
        plan_batches(random_calculation(), make_model(), Xia2025Partition(kind="auto"))
    with pytest.raises(
        ConfigError, match=r"partition.kind: .*expected one of slabs, bisection, metis, whole, auto, got 'slab'"
    ):
        load_config("xia2025", ["partition.kind=slab"])


def test_another_partitioner_is_a_line_in_the_registry(monkeypatch):
    @dataclass(frozen=True)
    class Heavy:
        """Atoms as heavy as hafnium in part 1."""

        count: int | None

        def assign(self, structure, graph=None):
            assert self.count == 2
            return (structure.numbers > 70).astype(int)

    monkeypatch.setitem(PARTITIONERS, "heavy", Heavy)
    calculation = random_calculation()
    light, heavy = plan_batches(calculation, make_model(), Xia2025Partition(kind="heavy", count=2))
    numbers = calculation.structure.numbers
    assert (numbers[light.partition.nodes[: light.partition.n_labelled]] == 8).all()
    assert (numbers[heavy.partition.nodes[: heavy.partition.n_labelled]] == 72).all()


def test_limits_of_control_groups(tmp_path, monkeypatch):
    """The tightest limit of the process' own group and of those above counts, in version 2 as in version 1."""
    groups, own = tmp_path / "cgroup", tmp_path / "own"
    monkeypatch.setattr(host, "CGROUPS", groups)
    monkeypatch.setattr(host, "OWN_GROUPS", own)
    free = available_bytes(CPU)
    write_group(groups / "job", "memory.max", "max", "memory.current", 5)
    write_group(groups / "job" / "step", "memory.max", 3_000_000, "memory.current", 1_000_000)
    own.write_text("0::/job/step\n")
    assert available_bytes(CPU) == 2_000_000 + 500
    write_group(groups / "job", "memory.max", 1_500_000, "memory.current", 1_000_000)
    assert available_bytes(CPU) == 500_000 + 500
    write_group(groups / "memory" / "a", "memory.limit_in_bytes", 700_000, "memory.usage_in_bytes", 600_000)
    own.write_text("5:cpu:/a\n4:memory:/a\n")
    assert available_bytes(CPU) == 100_000 + 500
    own.write_text("4:cpu:/a\n")
    assert available_bytes(CPU) > 0.5 * free


def write_group(folder: Path, limit: str, most: int | str, use: str, used: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text(f"{most}\n")
    (folder / use).write_text(f"{used}\n")
    (folder / "memory.stat").write_text("anon 3\ninactive_file 500\n")


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    """As many processes on other machines do not count: they have memory of their own."""
    monkeypatch.setattr(host, "free_bytes", lambda: 12_000)
    assert available_bytes(CPU) == 12_000
    for name, number in [("RANK", 5), ("WORLD_SIZE", 8), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 4)]:
        monkeypatch.setenv(name, str(number))
    assert available_bytes(CPU) == 3_000


def test_memory_limit_of_the_configuration_counts_what_is_used_already():
    unlimited = available_bytes(CPU)
    assert available_bytes(CPU, 1e-3) == 0
    assert 0 < available_bytes(CPU, 100.0) <= unlimited + 2**28


def test_outlines_hold_no_tensors():
    """What stays of a batch that is made when needed is small."""
    calculation = random_calculation()
    [plan] = plan_batches(calculation, make_model(), Xia2025Partition(kind="whole"))
    part = plan.partition
    arrays = sum(x.nbytes for x in (part.nodes, part.edges, part.source, part.target))
    assert arrays < 0.05 * plan.build().nbytes
    assert replace(plan).graph is plan.graph
