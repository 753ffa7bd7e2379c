"""Frames of edges and their spherical harmonics on a GPU, by the recursion of `orbitals.rotations`, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight.orbitals.coupling import coupling
from nearsight.orbitals.rotations import AXES

CHUNK = 32_768
"""Edges whose matrices are computed at once; they take some 300 MB."""


def frame_rows(vectors: np.ndarray, l_max: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the rows of D^0, D^1, … of the rotations that take edges to +z, one after another.

    Parameters
    ----------
    vectors : ndarray
        (e, 3) Å.
    l_max : int
        Highest degree.
    dtype : torch.dtype
        Number type of the result.
    device : torch.device
        Where it is computed.

    Returns
    -------
    Tensor
        (e, Σ_l (2l+1)²), what `bond_frames` and `wigner_d` give.
    """
    result = torch.empty(len(vectors), sum((2 * l + 1) ** 2 for l in range(l_max + 1)), dtype=dtype, device=device)
    for start in range(0, len(vectors), CHUNK):
        part = torch.as_tensor(vectors[start : start + CHUNK], dtype=torch.float64, device=device)
        result[start : start + CHUNK] = torch.cat([d.flatten(1) for d in _wigner(_rotations(part), l_max)], dim=1)
    return result


def harmonics_of(frames: Tensor, l_max: int) -> Tensor:
    """Return Y_lm of edges: the row m = 0 of each D^l, as the rotation takes the edge to +z.

    Parameters
    ----------
    frames : Tensor
        (e, Σ_l (2l+1)²), what `frame_rows` returns.
    l_max : int
        Highest degree.

    Returns
    -------
    Tensor
        (e, (l_max+1)²).
    """
    starts = [sum((2 * k + 1) ** 2 for k in range(l)) + l * (2 * l + 1) for l in range(l_max + 1)]
    return torch.cat([frames[:, at : at + 2 * l + 1] for l, at in enumerate(starts)], dim=1)


def _rotations(vectors: Tensor) -> Tensor:
    """Return what `bond_frames` does."""
    z = vectors / vectors.norm(dim=1, keepdim=True)
    x, y, w = z.abs().unbind(1)
    least = torch.where((x <= y) & (x <= w), 0, torch.where(y <= w, 1, 2))
    helper = torch.nn.functional.one_hot(least, 3).to(z.dtype)
    first = torch.linalg.cross(helper, z)
    first = first / first.norm(dim=1, keepdim=True)
    return torch.stack([first, torch.linalg.cross(z, first), z], dim=1)


def _wigner(rotation: Tensor, l_max: int) -> list[Tensor]:
    """Return what `wigner_d` does."""
    axes = list(AXES)
    first = rotation[:, axes][:, :, axes]
    result = [rotation.new_ones(len(rotation), 1, 1), first][: l_max + 1]
    for l in range(2, l_max + 1):
        c = torch.tensor(coupling(1, l - 1, l), device=rotation.device)
        half = torch.einsum("abM,ebd->eaMd", c, result[-1])
        full = torch.einsum("eaMd,eac->eMcd", half, first)
        result.append(torch.einsum("eMcd,cdN->eMN", full, c))
    return result
