"""Model files: where they are, and what they hold before it becomes a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from nearsight.errors import CheckpointError
from nearsight.foreign_files import reading, require_readable
from nearsight.nn.checksums import KEY, verify
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.fitted_overlap import FittedOverlap
from nearsight.orbitals.gaussian_shell import GaussianShell

FORMAT = "nearsight-model-3"
"""Since 3 a file holds checksums."""
FORMER_FORMATS = ("nearsight-model-1", "nearsight-model-2")
WEIGHTS = "model."
"""Prefix of the names of the network's weights."""
CHECKPOINT_ONLY = ("optimizer.", "raw.", "random")
"""Prefixes of the names of tensors that serve only to continue a run."""


def basis_metadata(basis: BasisSet) -> str:
    """Return a basis as JSON: its name, the degrees l of the shells, the valence and the functions of each element."""
    return json.dumps(
        {
            "name": basis.name,
            "shells": {str(z): list(ls) for z, ls in basis.shells.items()},
            "valence": {str(z): v for z, v in basis.valence.items()},
            "functions": {
                str(z): [[shell.exponents.tolist(), shell.coefficients.tolist()] for shell in own]
                for z, own in basis.functions.items()
            },
            "overlaps": None if basis.overlaps is None else basis.overlaps.as_plain(),
        }
    )


def basis_of_metadata(text: str) -> BasisSet:
    """Return the basis that `basis_metadata` wrote as JSON."""
    basis = json.loads(text)
    shells = {int(z): tuple(ls) for z, ls in basis["shells"].items()}
    functions = {
        int(z): tuple(GaussianShell.of_primitives(l, *numbers) for l, numbers in zip(shells[int(z)], own, strict=True))
        for z, own in basis.get("functions", {}).items()
    }
    fitted = basis.get("overlaps")
    overlaps = None if fitted is None else FittedOverlap.of_plain(fitted)
    if overlaps is not None:
        overlaps.check(shells)
    return BasisSet(basis["name"], shells, {int(z): v for z, v in basis["valence"].items()}, functions, overlaps)


def damaged(path: object, message: str) -> CheckpointError:
    """Return the error of a file that is no model."""
    return CheckpointError(f"{path}: {message}")


def find_model_file(path: Path) -> Path:
    """Return the model file that a path names.

    Parameters
    ----------
    path : Path
        A model file, or the folder of a run.

    Returns
    -------
    Path
        The file itself, or the best (else the last) checkpoint in the folder.

    Raises
    ------
    CheckpointError
        There is nothing of that name, or the folder holds no checkpoint.
    """
    require_readable(path, "a model file or a run's folder", damaged)
    if path.is_dir():
        for name in ("best.safetensors", "last.safetensors"):
            if (path / name).is_file():
                return path / name
        raise CheckpointError(f"{path}: expected a run's folder with best.safetensors, got one without")
    if not path.exists():
        raise CheckpointError(f"{path}: expected a model file or a run's folder, got nothing of that name")
    return path


def read_tensors(path: Path, checkpoint: bool = False) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the metadata and tensors of a model file.

    Parameters
    ----------
    path : Path
        The file (safetensors).
    checkpoint : bool
        Whether the tensors that continue a run are read, too.

    Returns
    -------
    metadata : dict of str to str
        Text by key, as stored.
    tensors : dict of str to Tensor
        Tensors by name.

    Raises
    ------
    CheckpointError
        The file is truncated, not a safetensors file of a known format, or has changed since it was written.
    """
    with reading(path, "a nearsight model (safetensors)", damaged), safe_open(str(path), framework="pt") as file:
        metadata, names = file.metadata() or {}, list(file.keys())
        if metadata.get("format") not in (FORMAT, *FORMER_FORMATS):
            raise CheckpointError(f"{path}: expected format {FORMAT}, got {metadata.get('format', 'none')}")
        if metadata["format"] == FORMAT and KEY not in metadata:
            raise CheckpointError(f"{path}: expected checksums in a file of format {FORMAT}, got none: it has changed")
        wanted = [k for k in names if checkpoint or not k.startswith(CHECKPOINT_ONLY)]
        tensors = {k: file.get_tensor(k) for k in wanted}
        verify(path, metadata, names, tensors)
    return {key: text for key, text in metadata.items() if key != KEY}, tensors


def has_checksums(path: Path) -> bool:
    """Return whether a model file holds checksums, which were then verified when it was read; former ones do not.

    Parameters
    ----------
    path : Path
        A model file that can be read.
    """
    with reading(path, "a nearsight model (safetensors)", damaged), safe_open(str(path), framework="pt") as file:
        return KEY in (file.metadata() or {})


def upgraded_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata of any format with the keys of today: format 1 said `network` and `initial`."""
    model = json.loads(metadata["model"])
    names = {"network": "architecture", "initial": "h0"}
    return {**metadata, "model": json.dumps({names.get(key, key): value for key, value in model.items()})}
