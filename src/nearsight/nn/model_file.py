"""Model files: where they are, and what they hold before it becomes a model."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nearsight.errors import CheckpointError
from nearsight.orbitals.basis import BasisSet

FORMAT = "nearsight-model-1"
PREFIX = "model."


def basis_metadata(basis: BasisSet) -> str:
    """A basis as JSON."""
    return json.dumps(
        {
            "name": basis.name,
            "shells": {str(z): list(ls) for z, ls in basis.shells.items()},
            "valence": {str(z): v for z, v in basis.valence.items()},
        }
    )


def basis_of_metadata(text: str) -> BasisSet:
    """The basis that `basis_metadata` wrote."""
    basis = json.loads(text)
    shells = {int(z): tuple(ls) for z, ls in basis["shells"].items()}
    return BasisSet(basis["name"], shells, {int(z): v for z, v in basis["valence"].items()})


def find_model_file(path: Path) -> Path:
    """The file itself, or the best (else the last) checkpoint of a run's folder."""
    if path.is_dir():
        for name in ("best.safetensors", "last.safetensors"):
            if (path / name).exists():
                return path / name
        raise CheckpointError(f"{path}: expected a run's folder with best.safetensors, got one without")
    if not path.exists():
        raise CheckpointError(f"{path}: expected a model file or a run's folder, got nothing of that name")
    return path


def read_tensors(path: Path, prefix: str | tuple[str, ...] = "") -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata, and the tensors whose names start with `prefix`.

    Raises:
        CheckpointError: not a safetensors file of ours, or a truncated one.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a nearsight model (safetensors), got a file that cannot be read as one: {error}"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected format {FORMAT}, got {metadata.get('format', 'none')}")
    return metadata, tensors
