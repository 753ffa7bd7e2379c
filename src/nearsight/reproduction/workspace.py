"""Workspace: the folder of a reproduction, where what is done is kept and never done again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nearsight.atomic_files import explained, write_text_atomically
from nearsight.errors import FormatError, InputError
from nearsight.reproduction.data_sets import DataSet, data_sets
from nearsight.version import __version__

_CHUNK = 1 << 24


@dataclass(frozen=True)
class Workspace:
    """Where a reproduction works, and with what.

    Attributes
    ----------
    folder : Path
        Trainings, numbers, and a folder for every table and figure.
    data : tuple of Path
        Folders with data of the user.
    quick : bool
        Whether the short protocols are run.
    minutes : float or None
        Training time of each network instead of the protocols' own.
    seed : int
        Of every training.
    """

    folder: Path
    data: tuple[Path, ...] = ()
    quick: bool = False
    minutes: float | None = None
    seed: int = 42
    _hashes: dict[Path, str] = field(default_factory=dict, compare=False, repr=False)
    _checked: dict[str, Path] = field(default_factory=dict, compare=False, repr=False)

    def budget(self, full: float, quick: float) -> float:
        """Return the training time of this reproduction, minutes."""
        return self.minutes or (quick if self.quick else full)

    def file(self, name: str) -> Path | None:
        """Return the file of a data set, which was looked into; None where it is nowhere.

        Raises
        ------
        FormatError
            The file of that name holds something else, or the same as that of another data set.
        """
        found = data_sets()[name].found(self.data)
        if found is not None and self._checked.get(name) != found:
            data_sets()[name].check(found, self.content(found))
            self._check_it_is_another(name, found)
            self._checked[name] = found
        return found

    def _check_it_is_another(self, name: str, found: Path) -> None:
        for other, path in self._checked.items():
            if other != name and self.content(path) == self.content(found):
                raise FormatError(
                    found, f"expected another calculation than {path} ({data_sets()[other].says}), got a copy of it"
                )

    def needed(self, name: str) -> Path:
        """Return the file of a data set that is there."""
        found = self.file(name)
        if found is None:
            raise InputError(f"expected {data_sets()[name].way_to_get_it()}")
        return found

    def missing(self, names: Sequence[str]) -> list[DataSet]:
        """Return those of some data sets that are nowhere."""
        return [data_sets()[name] for name in dict.fromkeys(names) if self.file(name) is None]

    def content(self, path: Path) -> str:
        """Return a hash of a file's content."""
        if path not in self._hashes:
            digest = hashlib.blake2b()
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
            self._hashes[path] = digest.hexdigest()
        return self._hashes[path]

    def place(self, kind: str, name: str, claim: Mapping[str, Any]) -> Path:
        """Return the folder of a piece of work: its name says what it is, and a hash says with which settings."""
        said = json.dumps({**claim, "version": __version__}, sort_keys=True, default=str)
        return self.folder / kind / f"{name}-{hashlib.blake2b(said.encode(), digest_size=5).hexdigest()}"


def read_numbers(path: Path) -> dict[str, Any] | None:
    """Return the numbers of a file; None where it is not there."""
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: expected JSON of an earlier run, got a damaged file; remove it: {error}") from error
    if not isinstance(tree, dict):
        raise InputError(f"{path}: expected numbers by name, got {type(tree).__name__}; remove the file")
    return tree


def write_numbers(path: Path, tree: Mapping[str, Any]) -> None:
    """Write numbers as JSON, whole or not at all; the folder is made."""
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps(_finite(tree), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {str(key): _finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
