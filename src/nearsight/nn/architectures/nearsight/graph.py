"""The inputs and targets of the network `nearsight`: features of atoms, and the undirected bonds between them.

The features of a structure are computed once for all of its atoms. Densities reach one cutoff far. The scalars are the
baseline's own isotropic on-site terms, which may carry more: a second hop, or potentials of the whole structure. Every
batch of a structure receives the same numbers, so dividing it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.neighbour_densities import neighbour_densities
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.kernels.device_frames import frame_rows
from nearsight.nn.kernels.incidence import Incidence
from nearsight.operators.blocks import ElementPair, group_by_elements
from nearsight.operators.symmetry import in_half
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import bond_frames, wigner_rows
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Bonds:
    """Bonds of one pair of elements, each once, from an atom Z_i to an atom Z_j, Z_i ≤ Z_j.

    Attributes
    ----------
    source, target : Tensor
        (e,) int64, positions of i and j.
    distance : Tensor
        (e,) Å.
    frames : Tensor
        (e, Σ_l (2l+1)²), rows of D^0, D^1, … of the rotation that takes the bond to +z, one after another.
    """

    source: Tensor
    target: Tensor
    distance: Tensor
    frames: Tensor

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Source, target, distance and frames as contiguous arrays, where they are on a CPU."""
        return tuple(t.contiguous().numpy() for t in (self.source, self.target, self.distance, self.frames))

    def ends(self, n_atoms: int) -> Incidence:
        """Return which ends of bonds are at each of n atoms: the sources of all bonds, then the targets of all.

        It is kept where it takes less memory than the bonds, not in small batches of large structures.
        """
        known: Incidence | None = self.__dict__.get("_ends")
        if known is None or len(known.start) != n_atoms + 1:
            known = Incidence.of(torch.cat([self.source, self.target]), n_atoms)
            if n_atoms <= len(self):
                self.__dict__["_ends"] = known
        return known

    def rows(self, chosen: slice | Tensor) -> Bonds:
        """Return some of the bonds."""
        if isinstance(chosen, slice) and chosen.indices(len(self)) == (0, len(self), 1):
            return self
        return Bonds(self.source[chosen], self.target[chosen], self.distance[chosen], self.frames[chosen])

    def to(self, device: torch.device | str) -> Bonds:
        """Return a copy on another device."""
        return Bonds(*(x.to(device) for x in (self.source, self.target, self.distance, self.frames)))

    @property
    def nbytes(self) -> int:
        """Memory of all tensors in bytes."""
        return sum(x.nbytes for x in (self.source, self.target, self.distance, self.frames))


@dataclass(frozen=True, eq=False)
class BondGraph:
    """Atoms with their features, and bonds.

    Attributes
    ----------
    element : Tensor
        (n,) int64, position of each atom's element among those of the network.
    densities : Tensor
        (n, (l_max+1)², F), neighbour densities; F counts elements and radial functions.
    scalars : Tensor
        (n, S), further features of each atom, unchanged by rotations.
    bonds : mapping of ElementPair to Bonds
        Bonds by pair of elements (Z_i ≤ Z_j).
    informed : bool
        Whether the features know the density matrix, as those of the informed network do.
    """

    element: Tensor
    densities: Tensor
    scalars: Tensor
    bonds: Mapping[ElementPair, Bonds]
    informed: bool = False

    @property
    def n_bonds(self) -> int:
        """Number of bonds."""
        return sum(len(b) for b in self.bonds.values())

    def to(self, device: torch.device | str) -> BondGraph:
        """Return a copy on another device."""
        return BondGraph(
            self.element.to(device),
            self.densities.to(device),
            self.scalars.to(device),
            {pair: b.to(device) for pair, b in self.bonds.items()},
            self.informed,
        )

    def with_bonds(self, bonds: Mapping[ElementPair, Bonds]) -> BondGraph:
        """Return the same atoms with other bonds."""
        return BondGraph(self.element, self.densities, self.scalars, bonds, self.informed)


@dataclass(frozen=True, eq=False)
class BondTargets:
    """Targets of the bonds of one pair of elements, in the columns of its `BondLayout`.

    Attributes
    ----------
    values : Tensor
        (e, width), targets in units of the outputs.
    weights : Tensor
        (e, width), equal for cos and sin of a channel.
    huber_delta : float
        Delta of the pseudo-Huber loss, in units of the weighted error; 0 for squares.

    Notes
    -----
    With the weighted error w·(output − target) and the Huber delta s, the error is the sum over bonds and channels of
    √(|error|² + s²) − s, |error|² counting cos and sin; with s = 0 it is the sum of |error|². Neither depends on how
    the frame is turned about the bond.
    """

    values: Tensor
    weights: Tensor
    huber_delta: float = 0.0

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Values and weights as contiguous arrays, where they are on a CPU."""
        return self.values.contiguous().numpy(), self.weights.contiguous().numpy()

    def rows(self, chosen: slice | Tensor) -> BondTargets:
        """Return the targets of some bonds."""
        return BondTargets(self.values[chosen], self.weights[chosen], self.huber_delta)

    def to(self, device: torch.device | str) -> BondTargets:
        """Return a copy on another device."""
        return BondTargets(self.values.to(device), self.weights.to(device), self.huber_delta)

    def error(self, output: Tensor, layout: BondLayout) -> Tensor:
        """Return the error of outputs, differentiable.

        Parameters
        ----------
        output : Tensor
            (e, width) outputs.
        layout : BondLayout
            Layout of their columns.

        Returns
        -------
        Tensor
            The error (see Notes of the class), a scalar.
        """
        squares = (self.weights * (output - self.values)).square()
        return torch.stack(
            [self._block(squares[:, b.columns].unflatten(1, (b.components, b.channels)).sum(1)) for b in layout.blocks]
        ).sum()

    def _block(self, squares: Tensor) -> Tensor:
        if not self.huber_delta:
            return squares.sum()
        return ((squares + self.huber_delta**2).sqrt() - self.huber_delta).sum()


CHUNK = 4096
"""Bonds whose frames are computed at once."""


@dataclass(frozen=True, eq=False)
class AtomInputs:
    """Features of all atoms of a structure, float64.

    Attributes
    ----------
    element : ndarray
        (N,) int64, position of each atom's element in the layout.
    densities : ndarray
        (N, (l_max+1)², F), neighbour densities.
    scalars : ndarray
        (N, S), isotropic on-site terms.
    informed : bool
        Whether they know the density matrix.
    """

    element: np.ndarray
    densities: np.ndarray
    scalars: np.ndarray
    informed: bool = False

    def graph(self, bonds: Mapping[ElementPair, Bonds], dtype: torch.dtype) -> BondGraph:
        """Return the atoms as tensors, with bonds.

        Parameters
        ----------
        bonds : mapping of ElementPair to Bonds
            Bonds by pair of elements.
        dtype : torch.dtype
            Number type of the features.

        Returns
        -------
        BondGraph
            Atoms and bonds, on the CPU.
        """
        return BondGraph(
            torch.as_tensor(self.element),
            torch.as_tensor(self.densities, dtype=dtype),
            torch.as_tensor(self.scalars, dtype=dtype),
            bonds,
            self.informed,
        )

    def with_told(self, scalars: np.ndarray, tensors: Sequence[np.ndarray], count: int) -> AtomInputs:
        """Return the features with what the density matrix tells.

        Parameters
        ----------
        scalars : (N, S') array
            Scalars in place of these.
        tensors : sequence of (N, F_l, 2l+1) array
            Irreps of degree 1, 2, …, which become columns of the densities; above their degree they are left out.
        count : int
            Number of these columns, at least every F_l.
        """
        added = np.zeros((*self.densities.shape[:2], count))
        for l, irreps in enumerate(tensors, start=1):
            if l * l < added.shape[1]:
                added[:, l * l : (l + 1) ** 2, : irreps.shape[1]] = irreps.transpose(0, 2, 1)
        return AtomInputs(self.element, np.concatenate([self.densities, added], axis=2), scalars, True)


def atom_inputs(
    config: NearsightConfig,
    layout: CoupledLayout,
    structure: Structure,
    graph: Graph,
    on_site: Sequence[np.ndarray],
    atoms: np.ndarray | None = None,
) -> AtomInputs:
    """Return the features of the atoms of a structure, or of some.

    Parameters
    ----------
    config : NearsightConfig
        Sizes and cutoff.
    layout : CoupledLayout
        Layout whose elements are the network's.
    structure : Structure
        The atoms.
    graph : Graph
        Their neighbours within the cutoff.
    on_site : sequence of ndarray
        (n, layout.size) coupled on-site blocks, E_h: those of the baseline, and others that are known.
    atoms : (n,) array of int, optional
        The atoms wanted; all by default.

    Returns
    -------
    AtomInputs
        Densities, and the isotropic terms of all on-site blocks.
    """
    radial = RadialFunctions(config.cutoff, config.density_functions)
    densities = neighbour_densities(structure, graph, radial, layout.elements, config.l_max, atoms)
    columns = scalar_columns(layout)
    numbers = structure.numbers if atoms is None else structure.numbers[atoms]
    return AtomInputs(
        np.searchsorted(layout.elements, numbers).astype(np.int64),
        np.concatenate([d.transpose(0, 2, 1) for d in densities], axis=1),
        np.concatenate([known[:, columns] for known in on_site], axis=1),
    )


def scalar_columns(layout: CoupledLayout) -> np.ndarray:
    """Return (S,) columns of the isotropic terms of on-site blocks; of two equal ones of a symmetric block only one."""
    table = IrrepTable(layout)
    once = np.arange(len(table.degree)) <= table.exchanged
    own = np.any([table.filled(z, z) for z in layout.elements], axis=0)
    return np.asarray(table.start[(table.degree == 0) & once & own])


def canonical_edges(structure: Structure, graph: Graph) -> dict[ElementPair, np.ndarray]:
    """Return each undirected pair of atoms once.

    Parameters
    ----------
    structure : Structure
        The atoms.
    graph : Graph
        Their directed edges.

    Returns
    -------
    dict of ElementPair to ndarray
        Positions of the edges from Z_i to Z_j > Z_i, and of the half of those between two equal elements.
    """
    chosen = np.flatnonzero(is_canonical(structure, graph, np.arange(graph.n_edges)))
    groups = group_by_elements(structure.numbers, graph.source[chosen], graph.target[chosen])
    return {pair: chosen[rows] for pair, rows in groups.items()}


def is_canonical(structure: Structure, graph: Graph, edges: np.ndarray) -> np.ndarray:
    """Return which edges stand for their bonds; the others are the reverses of such.

    Parameters
    ----------
    structure : Structure
        The atoms.
    graph : Graph
        Their directed edges.
    edges : ndarray
        (e,) positions of edges.

    Returns
    -------
    ndarray
        (e,) bool.
    """
    source, target = graph.source[edges], graph.target[edges]
    zi, zj = structure.numbers[source], structure.numbers[target]
    return np.where(zi == zj, in_half(source, target, graph.shift[edges]), zi < zj)


def make_bonds(
    graph: Graph, edges: np.ndarray, l_max: int, dtype: torch.dtype, device: torch.device | None = None
) -> Bonds:
    """Return the bonds along some edges.

    Parameters
    ----------
    graph : Graph
        Directed edges.
    edges : ndarray
        (e,) positions of edges.
    l_max : int
        Highest degree of the frames.
    dtype : torch.dtype
        Number type of lengths and frames; they are computed in float64.
    device : torch.device, optional
        Where they are; on the CPU by default.

    Returns
    -------
    Bonds
        The bonds.
    """
    vectors = graph.vector[edges]
    if device is not None and device.type != "cpu":
        return Bonds(
            torch.as_tensor(graph.source[edges], device=device),
            torch.as_tensor(graph.target[edges], device=device),
            torch.as_tensor(np.linalg.norm(vectors, axis=1), dtype=dtype, device=device),
            frame_rows(vectors, l_max, dtype, device),
        )
    width = sum((2 * l + 1) ** 2 for l in range(l_max + 1))
    frames = torch.empty(len(edges), width, dtype=dtype)
    for start in range(0, len(edges), CHUNK):
        rows = wigner_rows(bond_frames(vectors[start : start + CHUNK]), l_max)
        frames[start : start + CHUNK] = torch.as_tensor(rows)
    return Bonds(
        torch.as_tensor(graph.source[edges]),
        torch.as_tensor(graph.target[edges]),
        torch.as_tensor(np.linalg.norm(vectors, axis=1), dtype=dtype),
        frames,
    )


def frames_of(bonds: Bonds, l_max: int) -> list[np.ndarray]:
    """Return the Wigner matrices of bonds.

    Parameters
    ----------
    bonds : Bonds
        Bonds with frames up to l_max at least.
    l_max : int
        Highest degree wanted.

    Returns
    -------
    list of ndarray
        D^0 … D^l_max, each (e, 2l+1, 2l+1), float64.
    """
    result, at = [], 0
    for l in range(l_max + 1):
        n = 2 * l + 1
        result.append(_numpy(bonds.frames[:, at : at + n * n]).reshape(-1, n, n))
        at += n * n
    return result


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
