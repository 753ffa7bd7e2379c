"""Blocks of the network `nearsight`, group after group in the order of the store.

What concerns atoms (densities, on-site terms) is computed once (`atom_tables`), then each bond by itself, so results do
not depend on how the structure is divided. H_ij and H_ji come from one computation: H is exactly Hermitian.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.bond_scale import max_shell
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.nn.architectures.nearsight.atom_tables import DENSITIES, FEATURES, LEVERAGE, ON_SITE, atom_tables
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.nn.architectures.nearsight.graph import frames_of, is_canonical, make_bonds
from nearsight.nn.kernels.threads import in_order
from nearsight.nn.prediction import Pairs
from nearsight.operators.blocks import ElementPair, group_by_elements
from nearsight.progress import Event, Progress
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV


@dataclass(frozen=True, eq=False)
class BondBlocks:
    """The blocks of a structure, computed for some consecutive pairs at a time, and their expected errors.

    Attributes
    ----------
    model : BaselinePlusNetwork
        The model.
    structure : Structure
        The atoms.
    graph : Graph
        Their neighbours within the model's cutoff.
    pairs : Pairs
        The blocks wanted.
    chunk : int
        Pairs computed at once.
    progress : Progress
        Told edges done and edges in all.
    h0 : H0Matrices or None
        H₀ and S of the structure, where the model starts from them.
    """

    model: BaselinePlusNetwork
    structure: Structure
    graph: Graph
    pairs: Pairs
    chunk: int
    progress: Progress
    h0: H0Matrices | None = None
    given: Mapping[str, np.ndarray] | None = None
    """What `atom_tables` returned for all atoms, where it is at hand."""

    @cached_property
    def of_blocks(self) -> np.ndarray:
        """(P,) r.m.s. errors (eV) expected of the blocks computed so far; NaN where the model does not know them."""
        result = np.full(len(self.pairs), np.nan)
        if self.model.uncertainty is not None:
            own = np.flatnonzero(self.pairs.edge < 0)
            result[own] = self._on_site_errors[self.pairs.source[own]] * HARTREE_IN_EV
        return result

    @cached_property
    def out_of_distribution(self) -> np.ndarray:
        """(N,) bool, atoms in environments unlike those of training; none where the model is not calibrated."""
        known = self.model.uncertainty
        if known is None:
            return np.zeros(len(self.structure), dtype=bool)
        return known.out_of_distribution(self._tables[LEVERAGE], self._element)

    @property
    def mean_to_rms(self) -> tuple[float, float]:
        """Ratios of mean absolute to r.m.s. errors, on site and between atoms."""
        known = self.model.uncertainty
        return (1.0, 1.0) if known is None else (known.on_site_mean_to_rms, known.mean_to_rms)

    def groups(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Compute all blocks.

        Yields
        ------
        batch : slice
            Which pairs come next.
        values : ndarray
            (m,) float64, their blocks one after another, eV.
        """
        self.model.network.eval()
        _ = self._tables, self._features, self.of_blocks
        on_cpu = self.model.network.mix[0].device.type == "cpu"
        count, done = len(self.pairs), 0
        batches = [slice(k, min(k + self.chunk, count)) for k in range(0, count, self.chunk)]
        total = int((self.pairs.edge >= 0).sum())
        for batch, (n_edges, values) in zip(batches, in_order(self, batches, torch.get_num_threads() if on_cpu else 1)):
            done += n_edges
            self.progress(Event(done=done, total=total))
            yield batch, values

    def __call__(self, batch: slice) -> tuple[int, np.ndarray]:
        """Compute the blocks of some consecutive pairs.

        Parameters
        ----------
        batch : slice
            Which pairs.

        Returns
        -------
        n_edges : int
            How many of them are edges.
        values : ndarray
            (m,) float64, the blocks one after another, eV.
        """
        pairs = self.pairs
        source, target, edge = pairs.source[batch], pairs.target[batch], pairs.edge[batch]
        sizes = self.model.basis.sizes(self.structure.numbers)
        ends = np.cumsum(sizes[source] * sizes[target])
        values = np.empty(int(ends[-1]))

        def put(rows: np.ndarray, blocks: np.ndarray) -> None:
            flat = blocks.reshape(len(rows), -1) * HARTREE_IN_EV
            values[(ends[rows] - flat.shape[1])[:, None] + np.arange(flat.shape[1])] = flat

        own = np.flatnonzero(edge < 0)
        numbers = self.structure.numbers[source[own]]
        for z in np.unique(numbers):
            rows = own[numbers == z]
            put(rows, self.model.layout.uncouple(self._on_site[source[rows]], int(z), int(z)))
        off_site = np.flatnonzero(edge >= 0)
        forward, turned = self._canonical(edge[off_site])
        ends_of = self.graph.source[forward], self.graph.target[forward]
        for pair, group in group_by_elements(self.structure.numbers, *ends_of).items():
            blocks, errors = self.blocks(pair, forward[group])
            self.of_blocks[batch.start + off_site[group]] = errors * HARTREE_IN_EV
            for way, transposed in ((False, blocks), (True, blocks.transpose(0, 2, 1))):
                chosen = turned[group] == way
                if chosen.any():
                    put(off_site[group[chosen]], np.ascontiguousarray(transposed[chosen]))
        return len(off_site), values

    def blocks(self, pair: ElementPair, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the blocks of canonical edges of one pair of elements, and their expected errors.

        Parameters
        ----------
        pair : ElementPair
            The pair of elements.
        edges : ndarray
            (e,) positions of edges.

        Returns
        -------
        blocks : ndarray
            (e, n_i, n_j) E_h.
        errors : ndarray
            (e,) expected r.m.s. errors, E_h; NaN where the model does not know them.
        """
        model, network = self.model, self.model.network
        network.check([pair])
        layout, weight = network.layouts[pair], network.mix[0]
        bonds = make_bonds(self.graph, edges, model.config.l_max, weight.dtype, weight.device)
        outputs, hidden = network.outputs_and_hidden(self._features, pair, bonds)
        output = outputs.double().cpu().numpy()
        distance = np.linalg.norm(self.graph.vector[edges], axis=1)
        baseline = model.baseline.edges(self.structure, self.graph, edges, self.h0, self._on_site)
        scale = model.scale(pair, distance)
        blocks = layout.blocks_of(output * scale, frames_of(bonds, max_shell(layout)))
        blocks += model.layout.uncouple(baseline, *pair)
        if model.bond_terms is not None:
            ends = (self._tables[DENSITIES][atoms[edges]] for atoms in (self.graph.source, self.graph.target))
            blocks += model.bond_terms(pair, self.graph.vector[edges], *ends)
        errors = np.full(len(edges), np.nan)
        if model.uncertainty is not None:
            squares = model.uncertainty.bond_variances(network, hidden, pair, bonds)
            errors = np.sqrt((squares * scale**2).sum(axis=1) / blocks[0].size) if len(edges) else errors
        return blocks, errors

    def _canonical(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return edges in the direction that is computed, and which of the given ones are their reverses."""
        turned = ~is_canonical(self.structure, self.graph, edges)
        return np.where(turned, self.graph.reverse[edges], edges), turned

    @cached_property
    def _tables(self) -> Mapping[str, np.ndarray]:
        if self.given is not None:
            return self.given
        return atom_tables(self.model, self.structure, self.graph, self.h0)

    @property
    def _on_site(self) -> np.ndarray:
        """(N, size) coupled on-site blocks, E_h."""
        return self._tables[ON_SITE]

    @cached_property
    def _features(self) -> Tensor:
        return torch.as_tensor(self._tables[FEATURES], device=self.model.network.mix[0].device)

    @cached_property
    def _element(self) -> np.ndarray:
        """(N,) position of each atom's element in the layout."""
        return np.searchsorted(self.model.layout.elements, self.structure.numbers)

    @cached_property
    def _on_site_errors(self) -> np.ndarray:
        """(N,) r.m.s. errors over the elements of on-site blocks, E_h, of a calibrated model."""
        known, baseline = self.model.uncertainty, self.model.baseline
        assert known is not None
        degree, start = baseline.table.degree, baseline.table.start
        squares = baseline.node_scale(self.structure) ** 2 * (2 * degree + 1)
        result = np.empty(len(self.structure))
        for z in self.structure.elements:
            own = self.structure.numbers == z
            filled = self.model.layout.mask(z, z)[start]
            result[own] = np.sqrt(squares[own][:, filled].sum(axis=1)) / self.model.basis.n_orbitals(z)
        return result * known.on_site_inflation(self._tables[LEVERAGE], self._element)
