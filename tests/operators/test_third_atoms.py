"""Overlaps by way of third atoms, against sums over atoms one by one, and folded to Γ against resolved in R."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from nearsight.operators import third_atoms
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator, ElementPair, zeros
from nearsight.operators.third_atoms import Pairs, Shell, ThirdAtoms
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure

BASIS = BasisSet("test", {8: (0, 1), 72: (0, 0, 1)}, {8: 6, 72: 4})
SIZES = {8: 4, 72: 5}


def structure() -> Structure:
    generator = np.random.default_rng(1)
    cell = np.diag([4.0, 4.4, 5.0])
    grid = np.array([[0.1, 0.2, 0.0], [0.6, 0.3, 0.4], [0.2, 0.8, 0.6], [0.7, 0.7, 0.9]])
    return Structure(
        np.array([8, 72, 8, 72]), (grid + 0.02 * generator.normal(size=grid.shape)) @ cell, cell, np.ones(3, dtype=bool)
    )


def overlap(own: Structure) -> tuple[BlockOperator, Graph]:
    """Random symmetric blocks between neighbours, and unity on site."""
    graph, generator = build_graph(own, 4.2), np.random.default_rng(2)
    atoms = np.arange(len(own))
    source, target = np.concatenate([graph.source, atoms]), np.concatenate([graph.target, atoms])
    shift = np.concatenate([graph.shift, np.zeros((len(own), 3), dtype=np.int64)])
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], target, source))
    result = zeros(own.numbers, BASIS, source[order], target[order], shift[order], False, np.float64)
    for k in range(result.n_pairs):
        i, j = int(result.source[k]), int(result.target[k])
        block = generator.normal(size=(SIZES[int(own.numbers[i])], SIZES[int(own.numbers[j])]))
        result.put(np.array([k]), np.eye(len(block))[None] if result.on_site[k] else block[None])
    turned = np.concatenate([result.block(j, i, tuple(-r)).T.ravel() for i, j, r in _pairs(result)])
    return result.with_values((result.values + turned) / 2), graph


def _pairs(s: BlockOperator) -> list[tuple[int, int, np.ndarray]]:
    return [(int(i), int(j), r) for i, j, r in zip(s.source, s.target, s.shift)]


def one_by_one(s: BlockOperator, third: tuple[int, int], i: int, j: int, cell: np.ndarray) -> np.ndarray:
    z, shell = third
    start = sum(2 * l + 1 for l in BASIS.shells[z][:shell])
    orbitals = slice(start, start + 2 * BASIS.shells[z][shell] + 1)
    total = np.zeros((SIZES[int(s.numbers[i])], SIZES[int(s.numbers[j])]))
    for first, k, r in _pairs(s):
        itself = first == k and not r.any()
        end = k == j and np.array_equal(r, cell)
        if first == i and s.numbers[k] == z and not itself and not end:
            total += s.block(i, k, tuple(r))[:, orbitals] @ s.block(k, j, tuple(cell - r))[orbitals]
    return total


def summed(third: ThirdAtoms, shells: list[Shell], pairs: Mapping[ElementPair, Pairs]) -> dict[ElementPair, np.ndarray]:
    """All blocks, each of which comes once."""
    basis, result = third.overlap.basis, {}
    for pair, own in pairs.items():
        shape = (len(own[0]), len(shells), basis.n_orbitals(pair[0]), basis.n_orbitals(pair[1]))
        result[pair] = np.full(shape, np.nan)
    for pair, some, blocks in third.blocks(shells, pairs):
        assert np.isnan(result[pair][some]).all()
        result[pair][some] = blocks
    assert not any(np.isnan(own).any() for own in result.values())
    return result


@pytest.mark.parametrize("at_once", [24, 3])
def test_sums_are_those_over_third_atoms_one_by_one(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All atoms at once, and three, then one; in one thread or several."""
    monkeypatch.setattr(third_atoms, "AT_ONCE", at_once)
    monkeypatch.setattr(third_atoms, "LEAST_ATOMS", 1)
    s, graph = overlap(structure())
    numbers, third = s.numbers, ThirdAtoms(s)
    assert third.shells() == [(8, 0), (8, 1), (72, 0), (72, 1), (72, 2)]
    for pair in ((8, 8), (8, 72), (72, 72)):
        own = np.flatnonzero((numbers[graph.source] == pair[0]) & (numbers[graph.target] == pair[1]))
        edges = graph.source[own], graph.target[own], graph.shift[own]
        shells = [(8, 1), (72, 0), (72, 2)]
        found = summed(third, shells, {pair: edges})[pair]
        for k, shell in enumerate(shells):
            expected = [one_by_one(s, shell, int(i), int(j), r) for i, j, r in zip(*edges)]
            np.testing.assert_allclose(found[:, k], np.array(expected), atol=1e-12)


def test_sums_around_an_atom_are_those_over_third_atoms_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(third_atoms, "LEAST_ATOMS", 1)
    s, _ = overlap(structure())
    rng, shells = np.random.default_rng(3), [(72, 2), (8, 0)]
    blocks = {z: rng.normal(size=(2, SIZES[z], SIZES[z])) for z in (8, 72)}
    found = ThirdAtoms(s).around(shells, blocks)
    for i, z in enumerate(s.numbers.tolist()):
        for k, (element, shell) in enumerate(shells):
            start = sum(2 * l + 1 for l in BASIS.shells[element][:shell])
            orbitals = slice(start, start + 2 * BASIS.shells[element][shell] + 1)
            total = np.zeros((SIZES[z], SIZES[z]))
            for first, third, r in _pairs(s):
                if first == i and s.numbers[third] == element and not (third == i and not r.any()):
                    own = s.block(i, third, tuple(r))
                    total += own[:, orbitals] @ (blocks[element][third // 2] @ own.T)[orbitals]
            np.testing.assert_allclose(found[z][i // 2, k], (total + total.T) / 2, atol=1e-12)


def test_folded_sums_are_those_over_images() -> None:
    s, _ = overlap(structure())
    numbers = s.numbers
    own = np.flatnonzero((numbers[s.source] == 8) & (numbers[s.target] == 72))
    i, j = s.source[own], s.target[own]
    first = np.unique(np.column_stack([i, j]), axis=0)
    same_cell = first[:, 0], first[:, 1], np.zeros((len(first), 3), int)
    folded = summed(ThirdAtoms(fold(s)), [(72, 2)], {(8, 72): same_cell})
    # pairs meet on third atoms at up to twice the distance at which their overlaps end
    cells = np.array([[a, b, c] for a in range(-5, 6) for b in range(-5, 6) for c in range(-5, 6)])
    all_i, all_j = np.repeat(first[:, 0], len(cells)), np.repeat(first[:, 1], len(cells))
    every_cell = all_i, all_j, np.tile(cells, (len(first), 1))
    resolved = summed(ThirdAtoms(s), [(72, 2)], {(8, 72): every_cell})
    total = resolved[8, 72].reshape(len(first), len(cells), 4, 5).sum(axis=1)
    # at Γ an atom k that is an image of i or j is none of the third atoms
    image = {z: np.flatnonzero((s.source == s.target) & (numbers[s.source] == z) & ~s.on_site) for z in (8, 72)}
    assert len(image[72])
    for k in image[72]:
        atom = int(s.source[k])
        for row in np.flatnonzero(first[:, 1] == atom):
            between = [s.block(int(first[row, 0]), atom, tuple(r)) for _, r in _shifts(s, int(first[row, 0]), atom)]
            total[row] -= sum(b[:, 2:] for b in between) @ s.block(atom, atom, tuple(s.shift[k]))[2:]
    np.testing.assert_allclose(folded[8, 72][:, 0], total, atol=1e-10)


def _shifts(s: BlockOperator, i: int, j: int) -> list[tuple[int, np.ndarray]]:
    return [(k, s.shift[k]) for k in np.flatnonzero((s.source == i) & (s.target == j))]
