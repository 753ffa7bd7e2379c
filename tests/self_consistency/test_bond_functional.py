"""The bond functional: it finds coefficients that are there, and what it says of bonds that were left out."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nearsight.operators.blocks import ElementPair
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import in_half
from nearsight.operators.third_atoms import ThirdAtoms
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import bond_frames, wigner_d
from nearsight.self_consistency import bond_functional
from nearsight.self_consistency.bond_features import TOLD, BondFeatures, told_of_atoms
from nearsight.self_consistency.bond_functional import (
    FUNCTIONS,
    NEAR_FUNCTIONS,
    BondFunctional,
    BondSamples,
    fit_bonds,
    parts,
)
from nearsight.structures.graph import build_graph

DATA = Path(__file__).parents[2] / "data" / "aHfO2_96_A.h5"
CUTOFF = 4.5
HF_HF: ElementPair = (72, 72)


@cache
def calculation() -> Calculation:
    """96 atoms of a-HfO₂, CP2K at Γ."""
    return read_calculation(DATA)


def empty() -> BondFunctional:
    layout = CoupledLayout(calculation().basis.restricted(calculation().structure.numbers))
    return BondFunctional(
        {HF_HF: BondLayout(layout, HF_HF)}, ThirdAtoms(calculation().require_overlap()).shells(), CUTOFF, {}, {}
    )


def features(known: Calculation) -> BondFeatures:
    graph = build_graph(known.structure, CUTOFF)
    hf = known.structure.numbers == 72
    half = in_half(graph.source, graph.target, graph.shift)
    edges = {HF_HF: np.flatnonzero(hf[graph.source] & hf[graph.target] & half)}
    frames = {HF_HF: wigner_d(bond_frames(graph.vector[edges[HF_HF]]), 2)}
    return empty().features(graph, known.require_overlap(), edges, frames)


@cache
def samples() -> BondSamples:
    """Bonds between Hf and Hf; random symmetric blocks stand for H and P of the atoms."""
    known, own, generator = calculation(), features(calculation()), np.random.default_rng(0)
    layout = own.layouts[HF_HF].layout
    numbers, atoms = known.structure.numbers, np.zeros((2, len(known.structure), layout.size))
    for z in (8, 72):
        n = layout.basis.n_orbitals(z)
        some = generator.normal(size=(2, int((numbers == z).sum()), n, n))
        atoms[:, numbers == z] = [layout.couple(x + x.transpose(0, 2, 1), z, z) for x in some]
    near = own.near()
    told = own.of_density(near, own.overlaps(near), told_of_atoms(layout, numbers, *atoms))
    return BondSamples(own.graph.distance[own.edges[HF_HF]], own.beside()[HF_HF], near[HF_HF], told[HF_HF])


def some_functional() -> BondFunctional:
    """With random coefficients."""
    own, generator, weights = empty(), np.random.default_rng(3), {}
    for part, block, channels, sources in parts(own.layouts[HF_HF], len(own.shells)):
        count = (FUNCTIONS * len(own.shells) + NEAR_FUNCTIONS * TOLD) * len(sources)
        count += FUNCTIONS * (block.parity == block.order == 0)
        weights[(HF_HF, *part)] = generator.normal(size=(count, len(channels)))
    return replace(own, weights=weights)


@pytest.mark.parametrize("most", [10**6, 0])
def test_coefficients_are_found(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """From some bonds, for others; with all channels of a block together, and with each alone."""
    monkeypatch.setattr(bond_functional, "MOST", most)
    monkeypatch.setattr(bond_functional, "PENALTY", 1e-6)
    known = np.random.default_rng(1).random(len(samples().distance)) < 0.8
    targets = some_functional()(HF_HF, samples())
    fitted, unseen = fit_bonds(empty(), [{HF_HF: samples()}], [{HF_HF: targets}], [{HF_HF: known}])
    fitted.check()
    found, size = fitted(HF_HF, samples()), np.abs(targets).mean()
    assert np.abs(found - targets)[known].mean() < 1e-3 * size
    assert np.abs(unseen[0][HF_HF] - found)[~known].max() < 1e-12
    if most == 0:  # few coefficients: those of all bonds follow from these
        assert np.abs(found - targets)[~known].mean() < 0.02 * size


def test_a_bond_left_out_is_predicted_as_if_it_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bond_functional, "MOST", 0)
    noisy = some_functional()(HF_HF, samples())
    noisy += np.random.default_rng(2).normal(size=noisy.shape) * 0.1
    everything, others = np.ones(len(noisy), dtype=bool), np.arange(len(noisy)) != 7
    unseen = fit_bonds(empty(), [{HF_HF: samples()}], [{HF_HF: noisy}], [{HF_HF: everything}])[1][0][HF_HF]
    without = fit_bonds(empty(), [{HF_HF: samples()}], [{HF_HF: noisy}], [{HF_HF: others}])[0]
    # spreads, by which penalties count, are those of the other bonds then
    np.testing.assert_allclose(unseen[7], without(HF_HF, samples())[7], atol=2e-3 * np.abs(noisy).max())


def test_of_a_sum_over_images_the_nearest_has_nearly_all() -> None:
    """Pairs with one image have all of it, an atom's own images nothing."""
    own = features(calculation())
    shares = own._shares()
    graph, pair = own.graph, own.graph.source * 96 + own.graph.target
    total = np.bincount(pair, shares)
    assert np.allclose(total[np.unique(pair[graph.source != graph.target])], 1)
    assert not shares[graph.source == graph.target].any()
    alone = np.bincount(pair)[pair] == 1
    assert np.all(shares[alone & (graph.source != graph.target)] == 1)


def test_no_bonds_and_no_near_bonds() -> None:
    """As of two elements that are never neighbours."""
    known, functional = samples(), some_functional()
    far = BondSamples(known.distance, known.beside, known.near[:0], known.told[:0])
    expected = functional.beside(HF_HF, known.distance, known.beside)
    np.testing.assert_array_equal(functional(HF_HF, far), expected)
    none = BondSamples(known.distance[:0], known.beside[:0], known.near[:0], known.told[:0])
    assert functional(HF_HF, none).shape == (0, functional.layouts[HF_HF].width)
    layout = functional.layouts[HF_HF]
    frames = [np.zeros((0, 2 * l + 1, 2 * l + 1)) for l in range(3)]
    assert layout.columns_of(np.zeros((0, 10, 10)), frames).shape == (0, layout.width)
    half = np.arange(len(expected)) < 10_000
    fitted, unseen = fit_bonds(empty(), [{HF_HF: far}], [{HF_HF: expected}], [{HF_HF: half}])
    assert np.isfinite(unseen[0][HF_HF]).all()
    assert np.isfinite(fitted(HF_HF, far)).all()
