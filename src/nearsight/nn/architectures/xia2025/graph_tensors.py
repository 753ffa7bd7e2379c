"""GraphTensors: a graph or a partition of it as the tensors that a network reads; and how often each edge is updated.

Labelled edges are updated in every layer, those of a halo less often the farther out they are. Labelled outputs read
the labelled edges after all updates. The node update of layer k reads, after k − 1 edge updates, the edges into every
node that is still needed; those nodes' sources are needed one layer earlier. What is never read need not be computed:
in a halo of several hops that is most of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.kernels.device_frames import frame_rows, harmonics_of
from nearsight.orbitals.rotations import bond_frames, spherical_harmonics, wigner_d

CHUNK = 4096
"""Edges whose geometry is computed at once; it stays in the cache."""

CHUNK_ON_GPU = 262_144
"""The same on a GPU."""


@dataclass(frozen=True, eq=False)
class GraphTensors:
    """Nodes and directed edges of a graph or of a partition of it; labelled ones first.

    Attributes
    ----------
    numbers : Tensor
        (n,) int64, atomic numbers.
    source, target : Tensor
        (e,) int64, positions of i and j; messages run from source to target.
    distance : Tensor
        (e,) Å.
    harmonics : Tensor
        (e, (l_max+1)²), Y_lm of the edge's direction, unit norm per degree.
    frames : Tensor
        (e', Σ_l (2l+1)²), rows of D^0, D^1, … of the rotation that takes the edge to +z, one after another; e' = e, or
        only the first (labelled) edges where nothing else needs them.
    n_labelled : int
        Nodes with labels; the rest is halo.
    n_labelled_edges : int
        Edges with labels; the rest is halo.
    """

    numbers: Tensor
    source: Tensor
    target: Tensor
    distance: Tensor
    harmonics: Tensor
    frames: Tensor
    n_labelled: int
    n_labelled_edges: int

    @property
    def n_nodes(self) -> int:
        """Number of nodes, virtual ones included."""
        return len(self.numbers)

    @property
    def n_edges(self) -> int:
        """Number of edges, virtual ones included."""
        return len(self.source)

    @property
    def l_max(self) -> int:
        """Highest degree of the geometry."""
        return math.isqrt(self.harmonics.shape[1]) - 1

    @property
    def wigner(self) -> tuple[Tensor, ...]:
        """D^l for each l, (e', 2l+1, 2l+1), views of `frames`."""
        sizes = [2 * l + 1 for l in range(self.l_max + 1)]
        parts = self.frames.split([n * n for n in sizes], dim=1)
        return tuple(part.unflatten(1, (n, n)) for part, n in zip(parts, sizes))

    def to(self, device: torch.device | str) -> GraphTensors:
        """Return a copy on another device."""
        return GraphTensors(**{f.name: _moved(getattr(self, f.name), device) for f in fields(self)})

    def edges(self, chosen: slice) -> GraphTensors:
        """Return all nodes with only a slice of the edges (all of them labelled, for prediction)."""
        picked = slice(*chosen.indices(self.n_edges))
        count = picked.stop - picked.start
        return GraphTensors(
            self.numbers,
            self.source[picked],
            self.target[picked],
            self.distance[picked],
            self.harmonics[picked],
            self.frames[picked],
            self.n_labelled,
            count,
        )


def graph_tensors(
    numbers: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    vectors: np.ndarray,
    l_max: int,
    dtype: torch.dtype = torch.float32,
    n_labelled: int | None = None,
    n_labelled_edges: int | None = None,
    n_rotated: int | None = None,
    device: torch.device | None = None,
) -> GraphTensors:
    """Return the tensors of a graph's nodes and edges.

    Parameters
    ----------
    numbers : ndarray
        (n,) atomic numbers.
    source, target : ndarray
        (e,) node positions of each edge.
    vectors : ndarray
        (e, 3) Å, r_target − r_source, x, y, z.
    l_max : int
        Highest degree of features.
    dtype : torch.dtype
        Number type of the real tensors; geometry is computed in float64.
    n_labelled, n_labelled_edges : int, optional
        Labelled nodes and edges, as in `GraphTensors`; all by default.
    n_rotated : int, optional
        How many of the first edges get Wigner matrices; all by default.
    device : torch.device, optional
        Where the tensors are; on the CPU by default.

    Returns
    -------
    GraphTensors
        The tensors.
    """
    n_rotated = len(vectors) if n_rotated is None else n_rotated
    if device is None or device.type == "cpu":
        harmonics, frames = _harmonics(vectors.reshape(-1, 3), l_max, dtype), _frames(vectors[:n_rotated], l_max, dtype)
    else:
        harmonics, frames = _on_device(vectors.reshape(-1, 3), l_max, dtype, n_rotated, device)
    return GraphTensors(
        torch.as_tensor(np.array(numbers, dtype=np.int64), device=device),
        torch.as_tensor(np.array(source, dtype=np.int64), device=device),
        torch.as_tensor(np.array(target, dtype=np.int64), device=device),
        torch.as_tensor(np.linalg.norm(vectors, axis=-1), dtype=dtype, device=device),
        harmonics,
        frames,
        len(numbers) if n_labelled is None else n_labelled,
        len(source) if n_labelled_edges is None else n_labelled_edges,
    )


def _on_device(
    vectors: np.ndarray, l_max: int, dtype: torch.dtype, n_rotated: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the packed spherical harmonics, and the packed Wigner matrices of the first edges."""
    width = sum((2 * l + 1) ** 2 for l in range(l_max + 1))
    harmonics = torch.empty(len(vectors), (l_max + 1) ** 2, dtype=dtype, device=device)
    frames = torch.empty(n_rotated, width, dtype=dtype, device=device)
    for start in range(0, len(vectors), CHUNK_ON_GPU):
        part = frame_rows(vectors[start : start + CHUNK_ON_GPU], l_max, dtype, device)
        harmonics[start : start + CHUNK_ON_GPU] = harmonics_of(part, l_max)
        frames[start : start + CHUNK_ON_GPU] = part[: max(0, n_rotated - start)]
    return harmonics, frames


def _harmonics(vectors: np.ndarray, l_max: int, dtype: torch.dtype) -> Tensor:
    """Return the packed spherical harmonics."""
    return _packed(lambda part: spherical_harmonics(part, l_max), vectors, (l_max + 1) ** 2, dtype)


def _frames(vectors: np.ndarray, l_max: int, dtype: torch.dtype) -> Tensor:
    """Return the packed Wigner matrices."""
    width = sum((2 * l + 1) ** 2 for l in range(l_max + 1))
    return _packed(lambda part: wigner_d(bond_frames(part), l_max), vectors, width, dtype)


def _packed(
    function: Callable[[np.ndarray], list[np.ndarray]], vectors: np.ndarray, width: int, dtype: torch.dtype
) -> Tensor:
    """Return a row for each vector, the arrays of all degrees side by side; float64 exists of one chunk only."""
    result = torch.empty(len(vectors), width, dtype=dtype)
    for start in range(0, len(vectors), CHUNK):
        part = function(vectors[start : start + CHUNK])
        result[start : start + CHUNK] = torch.as_tensor(np.concatenate([x.reshape(len(x), -1) for x in part], axis=1))
    return result


def _moved(value: Any, device: torch.device | str) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def updates_needed(
    source: Tensor, target: Tensor, n_nodes: int, n_labelled: int, n_labelled_edges: int, layers: int
) -> Tensor:
    """Return how many edge updates the labelled outputs need of each edge.

    Parameters
    ----------
    source, target : Tensor
        (e,) node positions of each edge, labelled edges first.
    n_nodes : int
        Nodes, labelled ones first.
    n_labelled : int
        Nodes with labels.
    n_labelled_edges : int
        Edges with labels.
    layers : int
        Message-passing layers.

    Returns
    -------
    Tensor
        (e,) int64, `layers` for labelled edges.
    """
    updates = torch.zeros_like(source)
    updates[:n_labelled_edges] = layers
    needed = torch.zeros(n_nodes, dtype=torch.bool, device=source.device)
    needed[:n_labelled] = True
    needed[source[:n_labelled_edges]] = True
    needed[target[:n_labelled_edges]] = True
    for done in range(layers - 1, 0, -1):
        read = needed[target]
        updates = torch.where(read, updates.clamp(min=done), updates)
        needed[source[read]] = True
    return updates


def leading_edges(updates: Tensor, layers: int) -> list[int]:
    """Return how many of the first edges hold all that need the edge update of each layer.

    Parameters
    ----------
    updates : Tensor
        (e,) int64, what `updates_needed` returns.
    layers : int
        Message-passing layers.

    Returns
    -------
    list of int
        A number for each layer.
    """
    positions = torch.arange(1, len(updates) + 1, device=updates.device)
    return [int(torch.where(updates > layer, positions, 0).max()) if len(updates) else 0 for layer in range(layers)]
