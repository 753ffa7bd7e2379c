"""Results that are kept: found by everything that they depend on, whole or not there, and no more of them than fit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nearsight import kept_results
from nearsight.kept_results import FOLDER, digest, kept, kept_folder


@dataclass(frozen=True)
class _Some:
    numbers: np.ndarray
    text: str


class _Counted:
    """A computation that counts how often it is made."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays, self.times = arrays, 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        return self.arrays


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results are kept."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_a_result_is_computed_once_and_comes_back_to_the_last_bit(folder: Path, rng: np.random.Generator) -> None:
    made = _Counted(b=rng.standard_normal((3, 4)), a=np.arange(5), empty=np.zeros((0, 2), dtype=np.float32))
    for _ in range(3):
        found = kept(made, "name", np.arange(3.0))
        assert list(found) == ["b", "a", "empty"]
        assert all(found[k].tobytes() == v.tobytes() for k, v in made.arrays.items())
        assert all((found[k].dtype, found[k].shape) == (v.dtype, v.shape) for k, v in made.arrays.items())
    assert made.times == 1


@pytest.mark.parametrize(
    "other",
    [
        ("name", np.array([1.0, np.nextafter(2.0, 3)]), {"a": 1}),
        ("name", np.array([1.0, 2.0], dtype=np.float32), {"a": 1}),
        ("name", np.array([[1.0, 2.0]]), {"a": 1}),
        ("other", np.array([1.0, 2.0]), {"a": 1}),
        ("name", np.array([1.0, 2.0]), {"a": 1.0}),
        ("name", np.array([1.0, 2.0]), {"b": 1}),
        ("name", np.array([1.0, 2.0]), None),
        ("name", _Some(np.array([1.0, 2.0]), "x"), {"a": 1}),
    ],
)
def test_the_digest_tells_apart_what_differs(other: tuple[object, ...]) -> None:
    assert digest(("name", np.array([1.0, 2.0]), {"a": 1})) == digest(("name", np.array([1.0, 2.0]), {"a": 1}))
    assert digest(other) != digest(("name", np.array([1.0, 2.0]), {"a": 1}))


def test_the_digest_depends_on_the_fields_of_dataclasses_and_not_on_layout_in_memory() -> None:
    square = np.arange(9.0).reshape(3, 3)
    assert digest([_Some(square, "x")]) == digest([_Some(np.asfortranarray(square), "x")])
    assert digest([_Some(square, "x")]) != digest([_Some(square.T, "x")])
    assert digest([_Some(square, "x")]) != digest([_Some(square, "y")])
    with pytest.raises(TypeError, match="expected arrays, numbers"):
        digest([object()])


@pytest.mark.parametrize("place", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_damaged_file_is_made_again(folder: Path, rng: np.random.Generator, place: float, damage: str) -> None:
    made = _Counted(a=rng.standard_normal(1000))
    kept(made, "name")
    (file,) = folder.glob("*.npz")
    content = bytearray(file.read_bytes())
    at = int(place * len(content))
    content[at : at + 40] = bytes(255 - byte for byte in content[at : at + 40])
    file.write_bytes(content if damage == "changed" else content[:at])
    assert kept(made, "name")["a"].tobytes() == made.arrays["a"].tobytes()
    assert kept(made, "name")["a"].tobytes() == made.arrays["a"].tobytes()
    assert made.times == 2


def test_what_was_not_used_for_longest_makes_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_results, "LIMIT", 30_000)
    made = {name: _Counted(a=np.zeros(1000)) for name in ("first", "second", "third", "fourth")}
    for age, name in enumerate(["first", "second", "third"]):
        kept(made[name], name)
        os.utime(folder / f"{digest([name])}.npz", (1000 + age, 1000 + age))
    kept(made["first"], "first")  # used again: the second one is now the oldest
    kept(made["fourth"], "fourth")
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 30_000
    for name in ("first", "third", "fourth"):
        kept(made[name], name)
    assert [made[name].times for name in ("first", "third", "fourth")] == [1, 1, 1]
    kept(made["second"], "second")
    assert made["second"].times == 2
    huge = _Counted(a=np.zeros(10_000))
    kept(huge, "huge")
    kept(huge, "huge")
    assert huge.times == 2


def test_work_goes_on_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    for value in ("", str(tmp_path / "file"), str(tmp_path / "file" / "below")):
        monkeypatch.setenv(FOLDER, value)
        made = _Counted(a=np.ones(2))
        assert kept(made, "name")["a"].tolist() == [1, 1]
        kept(made, "name")
        assert made.times == 2


def test_results_are_kept_in_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept_folder() == tmp_path / "nearsight"


def test_another_number_of_threads_is_another_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"user_api": "blas", "internal_api": "openblas", "version": "1", "architecture": "Zen", "num_threads": 1}
    monkeypatch.setattr(kept_results, "threadpool_info", lambda: [one])
    first = digest(["name"])
    monkeypatch.setattr(kept_results, "threadpool_info", lambda: [{**one, "num_threads": 2}])
    assert digest(["name"]) != first
