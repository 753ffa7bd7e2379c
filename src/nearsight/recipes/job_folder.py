"""JobFolder: the files of one job of a campaign; what is there in full, and what a stopped job left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearsight.atomic_files import write_text_atomically
from nearsight.configuration import rename_keys
from nearsight.errors import ConfigError
from nearsight.recipes.campaign import RENAMED


@dataclass(frozen=True)
class JobFolder:
    """`jobs/NAME` of a campaign, and its result NAME.h5 beside `jobs`.

    Attributes:
        root: of the campaign.
        name: of the job.
    """

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """Where the job works."""
        return self.root / "jobs" / self.name

    @property
    def result(self) -> Path:
        """The store; it is there only when the job is done."""
        return self.root / f"{self.name}.h5"

    @property
    def status(self) -> str:
        """What is under way, in one line."""
        return _text(self.path / "status.txt")

    @property
    def error(self) -> str:
        """Why the job failed; empty where it did not."""
        return _text(self.path / "error.txt")

    @property
    def summary(self) -> list[str]:
        """What was found of the result, a line each."""
        return _text(self.path / "summary.txt").splitlines()

    def claim(self, said: dict[str, Any]) -> None:
        """Mark the folder as that of a job with these settings.

        Raises:
            ConfigError: it was begun with others.
        """
        text = json.dumps(said, indent=1, sort_keys=True)
        path = self.path / "job.json"
        if path.is_file() and path.read_text() != text and _earlier(path) != json.loads(text):
            raise ConfigError(
                f"{path}: expected the settings that this job was begun with, got others "
                f"({_difference(path, said)}); give another --output, or delete {self.path} and "
                f"{self.result}"
            )
        self.write("job.json", text)

    def write(self, name: str, text: str) -> None:
        """A small file, replaced whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_text_atomically(self.path / name, text)

    def clear_error(self) -> None:
        """Forget an earlier failure."""
        (self.path / "error.txt").unlink(missing_ok=True)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _earlier(path: Path) -> Any:
    """Return the settings that a job was begun with, under the names that keys have now."""
    tree = json.loads(path.read_text())
    if isinstance(tree, dict):
        rename_keys(tree, RENAMED, path)
    return tree


def _difference(path: Path, said: dict[str, Any]) -> str:
    """The first key that changed, as `a.b: old → new`."""
    old, new = _flat(_earlier(path)), _flat(json.loads(json.dumps(said)))
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            return f"{key}: {old.get(key)} → {new.get(key)}"
    return "same values, written differently"


def _flat(tree: Any, before: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {k: v for key, value in tree.items() for k, v in _flat(value, f"{before}{key}.").items()}
    if isinstance(tree, list):
        return {k: v for i, value in enumerate(tree) for k, v in _flat(value, f"{before}{i}.").items()}
    return {before.rstrip("."): tree}
