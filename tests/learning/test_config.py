"""Configurations are checked before anything is loaded; a misspelt key gets a suggestion."""

from __future__ import annotations

import time

import pytest

from nearsight.errors import ConfigError
from nearsight.learning.config import dump_config, load_config, presets


@pytest.mark.parametrize("name", presets())
def test_presets_are_valid_and_survive_yaml(name, tmp_path):
    config = load_config(name)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(path) == config


def test_paper_preset_is_table_7():
    config = load_config("xia2025")
    o, m = config.optimizer, config.model
    assert (o.learning_rate, o.minimum_learning_rate, o.decay_patience, o.decay_factor, o.decay_threshold) == (
        1e-4,
        1e-5,
        500,
        0.5,
        1e-3,
    )
    assert (m.l_max, m.channels, m.heads, m.feed_forward, m.layers) == (4, 16, 2, 64, 1)


def test_overrides():
    config = load_config("xia2025", ["data.train=[a.h5, b.h5]", "budget_minutes=2.5", "model.cutoff=6"])
    assert config.data.train == ("a.h5", "b.h5")
    assert config.budget_minutes == 2.5
    assert config.model.cutoff == 6.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.learning_rat=1", "unknown key 'optimizer.learning_rat'; did you mean 'optimizer.learning_rate'"),
        ("budget_minute=1", "did you mean 'budget_minutes'"),
        ("cutoff=8", "did you mean 'model.cutoff'"),
        ("model.cutoff=-1", "model.cutoff: .*greater than 0, got -1"),
        ("nonsense", "expected key=value"),
        ("partition.kind=whole", "leaves no slab for validation"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(ConfigError, match=message):
        load_config("xia2025", [text])


def test_unknown_file():
    with pytest.raises(ConfigError, match=r"expected a YAML file or one of the presets.*did you mean 'xia2025'"):
        load_config("xia205")


@pytest.mark.parametrize(
    ("preset", "change", "said"),
    [
        ("nearsight", "loss.kind=rmse_mae", "unknown key 'loss.kind'"),
        ("nearsight", "loss.masked=true", "unknown key 'loss.masked'"),
        ("nearsight", "partition.halo=false", "unknown key 'partition.halo'"),
        ("nearsight", "partition.kind=auto", "unknown key 'partition.kind'"),
        ("nearsight", "optimizer.decay_patience=3", "only for schedule=plateau"),
        ("xia2025", "loss.huber_delta=0.1", "unknown key 'loss.huber_delta'"),
        ("xia2025", "loss.weight_power=0", "unknown key 'loss.weight_power'"),
        ("xia2025", "partition.bonds_per_batch=8", "unknown key 'partition.bonds_per_batch'"),
        ("xia2025", "optimizer.weight_decay=0.1", "only for kind=adamw"),
        ("xia2025", "optimizer.warmup_steps=10", "only for schedule=cosine"),
    ],
)
def test_keys_that_would_have_no_effect_are_refused(preset: str, change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(preset, [change])


@pytest.mark.parametrize(
    "text",
    [
        "seed: -99999999999999999999999",
        "seed: " + ":".join(["59"] * 3000),
        'run_dir: "a\\0b"',
        'data: {train: ["a\\0.h5"]}',
        "model: !!set {architecture}",
        "model: [architecture]",
        "model: text",
    ],
)
def test_values_that_nothing_can_be_done_with(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: "):
        load_config(tmp_path / "a.yaml")


def test_many_keys_take_no_time(tmp_path):
    """They were counted anew for each of them."""
    (tmp_path / "a.yaml").write_text("".join(f"k{i}: 1\n" for i in range(10_000)))
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"a\.yaml: .* and 9980 more"):
        load_config(tmp_path / "a.yaml")
    assert time.process_time() - began < 10
