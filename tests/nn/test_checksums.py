"""One changed bit of a model or a checkpoint is found when the file is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import nearsight as ns
from nearsight.errors import CheckpointError
from nearsight.learning.checkpoint import write_tensors
from nearsight.nn.checksums import KEY
from nearsight.nn.loading import load_model
from nearsight.nn.model_file import FORMAT, has_checksums, read_tensors

KNOWN = Path(__file__).parents[1] / "data" / "version_0_1_0"
FILES = ["nearsight/best", "nearsight/last", "nearsight_h0/last", "xia2025/last"]


def renewed(name: str, folder: Path) -> Path:
    """A file of an earlier version as it is written today."""
    metadata, tensors = read_tensors(KNOWN / name, checkpoint=True)
    write_tensors(folder / "m.safetensors", tensors, {**metadata, "format": FORMAT})
    return folder / "m.safetensors"


def same(found: tuple[dict[str, str], dict[str, Tensor]], expected: tuple[dict[str, str], dict[str, Tensor]]) -> bool:
    return (
        found[0] == expected[0]
        and set(found[1]) == set(expected[1])
        and all(t.dtype == expected[1][k].dtype and torch.equal(t, expected[1][k]) for k, t in found[1].items())
    )


@pytest.mark.parametrize("name", FILES)
def test_every_nth_bit(tmp_path: Path, name: str) -> None:
    file = renewed(f"{name}.safetensors", tmp_path)
    data, expected = bytearray(file.read_bytes()), read_tensors(file, checkpoint=True)
    header, read, refused = 8 * (8 + int.from_bytes(data[:8], "little")), 0, 0
    for bit in [*range(0, header, 3001), *range(header, 8 * len(data), 23209)]:
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        data[bit // 8] ^= 1 << bit % 8
        try:
            found = read_tensors(file, checkpoint=True)
        except CheckpointError as error:
            refused += 1
            assert str(error).startswith(f"{file}: expected")  # noqa: PT017
            continue
        read += 1
        assert same(found, expected), bit
        assert bit < header
    assert refused > 40
    assert read <= 2  # spaces that fill the header


@pytest.mark.parametrize("name", ["nearsight", "xia2025"])
def test_a_weight_that_is_another_one(tmp_path: Path, name: str) -> None:
    file = renewed(f"{name}/last.safetensors", tmp_path)
    with safe_open(str(file), "pt") as opened:
        metadata, tensors = opened.metadata(), {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118
    weight = next(k for k, t in tensors.items() if k.startswith("model.") and t.is_floating_point() and t.numel())
    changed = tensors[weight].clone()
    changed.view(-1)[0] = torch.nextafter(changed.view(-1)[0], torch.tensor(10.0, dtype=changed.dtype))
    save_file({**tensors, weight: changed}, file, metadata)
    with pytest.raises(CheckpointError, match=rf"has changed since .*: the numbers of {weight} are others"):
        load_model(file)
    save_file({f"{k}x" if k == weight else k: t for k, t in tensors.items()}, file, metadata)
    with pytest.raises(CheckpointError, match="its tensors have other names"):
        load_model(file)
    save_file(tensors, file, {**metadata, "provenance": json.dumps({"seed": "7"})})
    with pytest.raises(CheckpointError, match="its metadata are others"):
        load_model(file)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"metadata": 1, "tensors": []}', "[" * 5000])
def test_checksums_that_are_none(tmp_path: Path, text: str) -> None:
    file = renewed("nearsight/best.safetensors", tmp_path)
    with safe_open(str(file), "pt") as opened:
        metadata, tensors = opened.metadata(), {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118
    save_file(tensors, file, {**metadata, KEY: text})
    with pytest.raises(CheckpointError, match=r"m\.safetensors: expected"):
        load_model(file)


def test_files_of_earlier_versions_are_read_and_called_so(tmp_path: Path) -> None:
    shutil.copy(KNOWN / "nearsight" / "best.safetensors", tmp_path / "old.safetensors")
    assert not has_checksums(tmp_path / "old.safetensors")
    assert (
        ns.load_model(tmp_path / "old.safetensors")
        .describe()
        .endswith("; written without checksums by an earlier version")
    )
    assert "checksums" not in ns.load_model(renewed("nearsight/best.safetensors", tmp_path)).describe()
