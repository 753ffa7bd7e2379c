"""H as a functional of the density: symmetries of what the informed network makes of it, training, files."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.serialisation import to_arrays
from nearsight.baselines.settings import BaselineSettings
from nearsight.nn.architectures.nearsight.batches import BondSource, InformedSource
from nearsight.nn.architectures.nearsight.composite import standardise
from nearsight.nn.architectures.nearsight.config import NearsightConfig, NearsightLoss
from nearsight.nn.architectures.nearsight.density_functional import InformedFunctional
from nearsight.nn.architectures.nearsight.informed import InformedTerms, fit_informed
from nearsight.nn.architectures.nearsight.informed_bonds import predicted_bonds
from nearsight.nn.architectures.nearsight.informed_file import informed_arrays, informed_of_arrays
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.nn.architectures.nearsight.training import fitted_again, informed_sources
from nearsight.nn.architectures.nearsight.validation import _Found, _slab, _Trial, validated
from nearsight.nn.fine_tuning import common_basis
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.operators.symmetry import hermiticity_error, rotate
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import atom_rotation
from nearsight.progress import Progress
from nearsight.self_consistency import bond_functional
from nearsight.self_consistency.atomic_density import AtomicDensity
from nearsight.self_consistency.functional import HELD_BACK, DensityPenalties, OnSiteFunctional, fit_functional
from nearsight.self_consistency.response import fit_response
from nearsight.self_consistency.solver import KnowsResponse, NotConvergedError, SelfConsistent
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

DATA = Path(__file__).parents[4] / "data" / "aHfO2_96_A.h5"
CUTOFF = 4.5
CONFIG = NearsightConfig(cutoff=CUTOFF, density_functions=4, channels=4, hidden=(8, 4), bond_functions=6)


@cache
def calculation() -> Calculation:
    """96 atoms of a-HfO₂, CP2K at Γ."""
    return read_calculation(DATA)


@cache
def terms() -> InformedTerms:
    """Fitted, with a network of large random weights, float64."""
    known = calculation()
    layout = CoupledLayout(known.basis.restricted(known.structure.numbers))
    baseline = fit_baseline([known], layout, CUTOFF, BaselineSettings())
    result = fit_informed([known], CONFIG, layout.basis, baseline, 0, torch.float64)
    standardise(result.network, [source(result).atoms])
    with torch.no_grad():
        for own in result.network.pairs.values():
            for weight in own.last:
                weight *= 10
    return result


def fitted_to(*calculations: Calculation) -> InformedTerms:
    """What is linear, fitted to some structures."""
    basis = common_basis(calculations)
    baseline = fit_baseline(calculations, CoupledLayout(basis), CUTOFF, BaselineSettings())
    return fit_informed(calculations, CONFIG, basis, baseline, 0, torch.float64)


def own_blocks(own: InformedTerms, z: int) -> np.ndarray:
    """(n, n_z, n_z) on-site blocks of the atoms of an element in the first structure, predicted without themselves."""
    assert own.fitted is not None
    atoms = calculation().structure.numbers == z
    return own.layout.uncouple(own.fitted.unseen[0][atoms], z, z)


def test_a_structure_without_a_common_element_changes_nothing() -> None:
    """Silicon beside HfO₂: levels and on-site blocks are those of the elements that are there."""
    alone = terms()
    both = fitted_to(calculation(), read_calculation(DATA.parent / "silicon_2.h5"))
    assert set(both.levels) == {8, 14, 72}
    for z in (8, 72):
        assert both.levels[z] == alone.levels[z]
        np.testing.assert_allclose(own_blocks(both, z), own_blocks(alone, z), atol=1e-9)
    assert both.fitted_bonds is not None
    assert [set(blocks) for blocks in both.fitted_bonds.unseen] == [{(8, 8), (8, 72), (72, 72)}, {(14, 14)}]


@pytest.mark.exact
def test_kept_results_give_the_same_terms_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setenv("NEARSIGHT_CACHE", str(tmp_path))
    first = fitted_to(calculation())
    monkeypatch.setattr(OnSiteFunctional, "_density_of", refused)
    monkeypatch.setattr(bond_functional, "_fitted", refused)
    again = fitted_to(calculation())
    for other in (first, again):
        assert {k: v.tobytes() for k, v in informed_arrays(other).items()} == {
            k: v.tobytes() for k, v in informed_arrays(terms()).items()
        }
        assert other.fitted is not None
        assert other.fitted_bonds is not None
        ours, theirs = other.fitted, terms().fitted
        assert theirs is not None
        assert ours.densities[0].vector().tobytes() == theirs.densities[0].vector().tobytes()
        assert ours.unseen[0].tobytes() == theirs.unseen[0].tobytes()
        bonds = terms().fitted_bonds
        assert bonds is not None
        for pair, blocks in bonds.unseen[0].items():
            assert other.fitted_bonds.unseen[0][pair].tobytes() == blocks.tobytes()


def source(own: InformedTerms) -> BondSource:
    return informed_sources(own, [calculation()], NearsightLoss(), trained_on=True)[0]


def density() -> AtomicDensity:
    known = terms().fitted
    assert known is not None
    return known.densities[0]


def hamiltonian(known: Calculation, found: AtomicDensity) -> BlockOperator:
    return InformedFunctional(terms()).bound(known)(found)


@pytest.mark.parametrize("sign", [1, -1])
def test_h_turns_with_structure_and_density(sign: int) -> None:
    """Rotations, and rotations with inversion."""
    known, rotation = calculation(), sign * Rotation.random(random_state=3).as_matrix()
    turned = replace(
        known,
        structure=known.structure.rotated(rotation),
        hamiltonian=None,
        overlap=rotate(known.require_overlap(), rotation),
    )
    kinds = [blocks.copy() for blocks in density().own_blocks]
    for z in known.structure.elements:
        atoms = np.flatnonzero(known.structure.numbers == z)
        d, layout = atom_rotation(known.basis, z, rotation), terms().layout
        for blocks in kinds:
            blocks[atoms] = layout.couple(d @ layout.uncouple(blocks[atoms], z, z) @ d.T, z, z)
    h = hamiltonian(known, density())
    other = hamiltonian(turned, AtomicDensity(density().charges, *kinds, density().dipoles @ rotation.T))
    assert hermiticity_error(h) < 1e-12
    assert np.abs(rotate(h, rotation).values - other.values).max() < 1e-8


def test_the_order_of_atoms_and_the_origin_do_not_matter() -> None:
    known = calculation()
    order = np.random.default_rng(0).permutation(len(known.structure))
    structure = known.structure
    moved = replace(
        structure, numbers=structure.numbers[order], positions=structure.positions[order] + [0.7, -0.2, 3.1]
    )
    place = np.argsort(order)
    s = known.require_overlap()
    pairs = s.source, s.target, s.shift
    dense = {(i, j): s.block(int(i), int(j)) for i, j in zip(*pairs[:2])}
    rows = sorted((int(place[i]), int(place[j])) for i, j in dense)
    values = np.concatenate([dense[int(order[i]), int(order[j])].ravel() for i, j in rows])
    i, j = np.array(rows).T
    overlap = BlockOperator(moved.numbers, s.basis, i, j, np.zeros((len(i), 3), dtype=np.int64), values, True)
    other = replace(known, structure=moved, hamiltonian=None, overlap=overlap)
    first = hamiltonian(known, density())
    second = hamiltonian(other, AtomicDensity(*(part[order] for part in vars(density()).values())))
    for a, b in [(0, 0), (3, 50), (90, 17)]:
        np.testing.assert_allclose(first.block(a, b), second.block(int(place[a]), int(place[b])), atol=1e-9)


def test_h_is_what_the_network_is_trained_towards(monkeypatch: pytest.MonkeyPatch) -> None:
    """With exact on-site blocks and the targets as outputs, H of the exact density is the reference."""
    known, own = calculation(), terms()
    bound = InformedFunctional(own).bound(known)
    exact, numbers = known.require_hamiltonian(), known.structure.numbers
    coupled = np.zeros((len(numbers), own.layout.size))
    for z in known.structure.elements:
        atoms = np.flatnonzero(numbers == z)
        coupled[atoms] = own.layout.couple(exact.blocks((z, z), atoms, atoms) / HARTREE_IN_EV, z, z)
    assert own.fitted is not None
    bonds = predicted_bonds(own.bonds, [known], replace(own.fitted, unseen=[coupled])).unseen[0]
    made = InformedSource(known, own, NearsightLoss(), density(), coupled, bonds)
    batch = made.make(made.single_edges())
    monkeypatch.setattr(OnSiteFunctional, "__call__", lambda *_: coupled)
    monkeypatch.setattr(own.network, "outputs", lambda features, bonds: {k: t.values for k, t in batch.targets.items()})
    h = bound(density())
    on_pairs = exact.on_pairs(h.source, h.target, h.shift)
    single = np.isin(h.source * 96 + h.target, _single_pairs(made)) | (h.source == h.target)
    chosen = np.flatnonzero(single)
    errors = [(h.stack(np.array([k])) - on_pairs.stack(np.array([k])))[0] for k in chosen]
    # s orbitals have no pseudoscalar parts (p_x–p_y minus p_y–p_x about the bond), which no network of bonds has
    n_s = {8: 1, 72: 2}
    with_s = [
        max(np.abs(e[: n_s[int(numbers[i])]]).max(), np.abs(e[:, : n_s[int(numbers[j])]]).max())
        for e, i, j in zip(errors, h.source[chosen], h.target[chosen])
    ]
    assert len(errors) > 2900
    assert max(with_s) < 1e-9
    assert np.mean([np.abs(e).mean() for e in errors]) < 5e-4


def _single_pairs(made: BondSource) -> np.ndarray:
    edges = np.concatenate(list(made.single_edges().values()))
    i, j = made.graph.source[edges], made.graph.target[edges]
    return np.concatenate([i * 96 + j, j * 96 + i])


def test_files_keep_it() -> None:
    found = density()
    features = terms().functional.features(calculation().structure, build_graph(calculation().structure, CUTOFF))
    half = found.with_vector(0.5 * found.vector())
    own = replace(terms(), response=fit_response(features, [(half, found)], found))
    again = informed_of_arrays(informed_arrays(own), to_arrays(own.baseline)[1], CONFIG, own.basis, torch.float64)
    again.network.load_state_dict(own.network.state_dict())
    first = InformedFunctional(own).bound(calculation())
    second = InformedFunctional(again).bound(calculation())
    np.testing.assert_array_equal(first(density()).values, second(density()).values)
    np.testing.assert_array_equal(first.start().charges, second.start().charges)
    assert isinstance(first, KnowsResponse)
    assert isinstance(second, KnowsResponse)
    steps = [bound.step_towards(found, 0.1 * found.vector()) for bound in (first, second)]
    np.testing.assert_array_equal(*steps)


def test_a_run_that_goes_on_trains_on_the_same_blocks() -> None:
    known, own = calculation(), terms()
    loaded = replace(own, fitted=None, fitted_bonds=None)
    again, same = (
        informed_sources(t, [known], NearsightLoss(), trained_on=True)[0]
        for t in (fitted_again(loaded, [known], True), own)
    )
    np.testing.assert_array_equal(again.on_site, same.on_site)
    np.testing.assert_array_equal(*(s.calculation.require_hamiltonian().values for s in (again, same)))
    predicted = informed_sources(fitted_again(loaded, [known], False), [known], NearsightLoss(), trained_on=True)[0]
    assert np.abs(predicted.on_site - same.on_site).max() > 1e-5  # of structures that were not fitted
    between = [s.calculation.require_hamiltonian().values for s in (predicted, same)]
    assert np.abs(between[0] - between[1]).max() > 1e-4


def test_validated_is_the_slab_with_most_elements() -> None:
    """The ends of a junction are metal: nothing of the oxide would be seen."""
    x = np.arange(16.0)
    numbers = np.where((x >= 5) & (x < 12), np.where(x % 2, 8, 72), 13)
    places = np.stack([2 * x + 0.5, np.zeros(16), np.zeros(16)], axis=1)
    chosen = _slab(Structure(numbers, places, np.diag([32.0, 10.0, 10.0]), True))
    assert np.flatnonzero(chosen).tolist() == [4, 5, 6, 7]
    oxide = Structure(np.where(x % 2, 8, 72), places, np.diag([32.0, 10.0, 10.0]), True)
    assert np.flatnonzero(_slab(oxide)).tolist() == [12, 13, 14, 15]


def test_what_is_held_back_moves_less() -> None:
    """The part of on-site blocks that sums over third atoms and net and gross populations make shrinks."""
    known, layout = calculation(), terms().layout
    parts = []
    for held_back in HELD_BACK:
        own = fit_functional([known], layout, CUTOFF, basis=layout.basis, held_back=held_back).functional
        strict, loose = (replace(own.descriptor, held_back=DensityPenalties(*p)) for p in ((2.0, 3.0), (1.0, 1.0)))
        ratio = strict.penalties(0) / loose.penalties(0)
        assert set(ratio.tolist()) == {1.0, 2.0, 3.0}
        weights = {z: own.on_site.regressions[z, 0].weights for z in (8, 72)}
        parts.append([np.linalg.norm(w[ratio == 3.0]) for w in weights.values()])
    assert np.all(np.diff(parts, axis=0) < 0)


def test_a_trial_that_does_not_help_is_made_again_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """First charges do not come to rest or are worse than the local model's, then better, and better still."""
    own, said, asked, kept = terms(), list[str](), list[DensityPenalties](), list[DensityPenalties]()
    model = NearsightModel.new(CONFIG, own.basis, own.baseline, own.scale, torch.float64, 0)
    charges: list[float | None] = []

    def solved(trial: _Trial[NearsightModel], held_back: DensityPenalties, progress: Progress) -> _Found:
        asked.append(held_back)
        found = charges[len(asked) - 1]
        if found is None:
            raise NotConvergedError("no rest")
        return _Found(held_back, own.functional, cast(SelfConsistent, None), (0.9, 0.5), (0.03, found), 22)

    def keep(trial: _Trial[NearsightModel], found: _Found) -> InformedTerms:
        kept.append(found.held_back)
        return replace(own, residual={8: 0.1, 72: 0.1})

    monkeypatch.setattr(_Trial, "solved", solved)
    monkeypatch.setattr(_Trial, "kept", keep)
    cases: list[tuple[list[float | None], int, int | None]] = [
        ([0.02], 1, 0),
        ([None, 0.015, 0.01], 3, 2),
        ([0.04, 0.01, 0.015], 3, 1),
        ([0.04, 0.02, None], 3, 1),
        ([None, 0.04, 0.05], 3, None),
    ]
    for charges, tries, best in cases:
        for record in (asked, kept, said):
            record.clear()
        local = lambda structure: model.predict(structure).operator()  # noqa: E731
        result = validated(model, own, local, [calculation()], [], lambda event: said.append(event.message))
        assert asked == list(HELD_BACK[:tries])
        assert kept == ([] if best is None else [HELD_BACK[best]])
        assert (result.density_functional is None) == (best is None)
        assert said[-1].startswith("self-consistency: not used") == (best is None)
        if best is not None:
            assert f"→ {charges[best]:.4f} e" in result.provenance["self_consistency"]
