"""What is given with a structure is that of the structure, and cannot be what no structure has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nearsight as ns
from nearsight.api.overlaps import checked_error
from nearsight.errors import CheckpointError, FormatError, InputError
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.learning.training import SAMPLED
from nearsight.operators.store import read_calculation
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.fitted_overlap import FittedOverlap
from nearsight.orbitals.gaussian_shell import GaussianShell

DATA = Path(__file__).parents[1] / "data"
KNOWN = DATA / "version_0_1_0"


@pytest.fixture(scope="module")
def model() -> ns.Model:
    """One that knows its functions."""
    old = ns.load_model(KNOWN / "nearsight")
    read = read_basis_file(DATA / "BASIS_MOLOPT_excerpt", old.basis.name)
    inner = replace(old.inner, basis=old.basis.with_functions(read.functions))  # type: ignore[type-var]
    return ns.Model(inner)


@pytest.fixture(scope="module")
def given(model: ns.Model) -> ns.Calculation:
    known = read_calculation(KNOWN / "calculation.h5", hamiltonian=False, overlap=False, h0=False)
    basis = model.basis.restricted(known.structure.numbers)
    return ns.Calculation(known.structure, basis, overlap=overlap_of(known.structure, basis))


def test_s_that_fits_is_taken(model: ns.Model, given: ns.Calculation) -> None:
    found = model.predict(given)
    assert found.calculation.overlap is given.overlap


def test_s_of_other_positions_or_another_scale_is_refused(
    model: ns.Model, given: ns.Calculation, tmp_path: Path
) -> None:
    s = given.overlap
    assert s is not None
    moved = given.structure.positions.copy()
    moved[3, 0] += 0.05
    elsewhere = replace(given, structure=replace(given.structure, positions=moved))
    for wrong in (elsewhere, replace(given, overlap=s.with_values(1.1 * s.values))):
        with pytest.raises(InputError, match=r"expected S of these atoms in the model's basis .* give the structure"):
            model.predict(wrong)
        ns.write(tmp_path / "wrong.h5", wrong)
        with pytest.raises(InputError, match="expected S of these atoms"):
            model.predict_to(tmp_path / "h.h5", tmp_path / "wrong.h5")
        assert not (tmp_path / "h.h5").exists()


@pytest.mark.parametrize("charge", [1e3, -1e3, 1e300, float("nan"), float("inf")])
def test_charges_that_the_orbitals_do_not_allow(
    model: ns.Model, given: ns.Calculation, charge: float, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"expected a (finite )?charge"):
        model.predict(given, charge=charge)
    if np.isfinite(charge):
        ns.write(tmp_path / "c.h5", replace(given, charge=charge))
        with pytest.raises(FormatError, match=r"c\.h5: expected a charge of -?\d+ to \d+ e"):
            read_calculation(tmp_path / "c.h5")


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.full((1, 3), 1e300), np.full((2, 3), np.nan)])
def test_k_points_that_are_none(given: ns.Calculation, points: np.ndarray, tmp_path: Path) -> None:
    ns.write(tmp_path / "k.h5", replace(given, k_points=points))
    with pytest.raises(FormatError, match=r"k\.h5: expected "):
        read_calculation(tmp_path / "k.h5")


@pytest.mark.parametrize("said", ["abc", "nan", "-5", "1e300", "inf"])
def test_a_model_that_was_sampled_as_nothing_is(model: ns.Model, given: ns.Calculation, said: str) -> None:
    provenance = {**model.inner.provenance, SAMPLED: said}
    odd = ns.Model(replace(model.inner, provenance=provenance))  # type: ignore[type-var]
    with pytest.raises((InputError, CheckpointError), match=r"expected a length in Å|expected at most 1,000,000"):
        odd.predict(given.structure)


def test_meshes_that_do_not_fit_into_memory(model: ns.Model, given: ns.Calculation) -> None:
    with pytest.raises(InputError, match=r"expected at most 1,000,000 k-points, got a mesh of 1000000 × 1000000 × 1"):
        model.predict(given, k_points=(10**6, 10**6, 1))


@pytest.mark.parametrize(
    ("exponents", "coefficients"),
    [
        ([1e-300], [1.0]),
        ([1e300], [1.0]),
        ([1.0], [1e300]),
        ([1.0], [1e-300]),
        ([1.0] * 20_000, [1.0] * 20_000),
        ([1.0, 1.0], [1.0, -1.0]),
    ],
)
def test_shells_that_cannot_be_normalised(exponents: list[float], coefficients: list[float]) -> None:
    with pytest.raises(InputError, match=r"of a Gaussian shell|can be normalised"):
        GaussianShell.of_primitives(2, exponents, coefficients)


@pytest.mark.parametrize("changes", [{"range": 1e300}, {"range": -1.0}, {"error": -1.0}, {"nearest": {(1, 1): 1e9}}])
def test_fitted_overlaps_that_reach_too_far(changes: dict[str, object]) -> None:
    fitted = FittedOverlap(8.0, {(1, 1): {}}, {1: np.eye(1)}, {(1, 1): 0.5}, 1e-5)
    fitted.check({1: (0,)})
    with pytest.raises(InputError, match="expected fitted overlaps"):
        replace(fitted, **changes).check({1: (0,)})  # type: ignore[arg-type]


def test_an_overlap_with_elements_that_are_zero_is_judged_as_well() -> None:
    """Atoms along an axis: by symmetry many elements of their blocks are zero."""
    basis = BasisSet(
        "made", {1: (0, 1)}, {1: 1}, {1: tuple(GaussianShell.of_primitives(l, [0.5], [1.0]) for l in (0, 1))}
    )
    atoms = ns.Structure(
        np.ones(3, int), np.array([[0, 0, 0], [0, 0, 2.0], [0, 0, 4.0]]), np.zeros((3, 3)), np.zeros(3, bool)
    )
    s = overlap_of(atoms, basis)
    assert (s.values == 0).any()
    assert checked_error(s, 1e-6) == 1e-6
