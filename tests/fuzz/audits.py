"""What must hold for whatever a reader has accepted, asked again; an exception says what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nearsight.elements import HEAVIEST
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.invariants import check_calculation_values, check_reverses
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.fuzz.seeds import sealed_content, small_calculation, transport_points


def audit_calculation(found: Any) -> None:
    """What holds for every calculation, asked again, and that it can be used."""
    assert isinstance(found, Calculation)
    check_calculation_values(found)
    check_reverses(found)
    audit_structure(found.structure)
    for name in ("hamiltonian", "hamiltonian_up", "hamiltonian_down", "overlap"):
        operator = getattr(found, name)
        if operator is not None:
            assert np.isfinite(operator.values).all()
            assert operator.n_orbitals < 10_000


def audit_structure(found: Any) -> None:
    """A structure that can be."""
    assert isinstance(found, Structure)
    assert np.isfinite(found.positions).all()
    assert np.isfinite(found.cell).all()
    assert np.abs(found.positions).max() < 1e6 + 1
    assert ((found.numbers >= 0) & (found.numbers <= HEAVIEST)).all()
    assert build_graph(found, 0.3).n_edges == 0


def audit_same(found: Any) -> None:
    """The content of a store with checksums is what was written, or the file is refused."""
    audit_calculation(found)
    expected = small_calculation()
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(found.structure, name), getattr(expected.structure, name))
    for name in ("cutoff", "energy", "fermi", "charge", "multiplicity"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("eigenvalues", "k_points", "k_eigenvalues"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.basis == expected.basis
    assert found.basis.name == expected.basis.name
    assert dict(found.basis.valence) == dict(expected.basis.valence)
    assert dict(found.provenance) == dict(expected.provenance)
    for name in ("hamiltonian", "overlap"):
        _assert_equal(getattr(found, name), getattr(expected, name))


def _assert_equal(found: BlockOperator | None, expected: BlockOperator) -> None:
    assert found is not None
    assert found.folded == expected.folded
    for name in ("source", "target", "shift"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-7, atol=1e-12)


def audit_model(model: Any) -> None:
    """All weights are finite."""
    assert all(bool(p.isfinite().all()) for p in model.network.parameters())
    assert 0 < model.config.cutoff <= 1e5


def audit_same_model(found: Any) -> None:
    """The content of a model with checksums is what was written, or the file is refused."""
    metadata, tensors = sealed_content()
    assert found[0] == metadata
    assert set(found[1]) == set(tensors)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in found[1].items())


def audit_same_points(found: Any) -> None:
    """Points that are taken for computed ones are what was computed."""
    expected = transport_points()
    assert set(found) == set(expected)
    for key, point in found.items():
        for name, value in vars(point).items():
            np.testing.assert_array_equal(value, getattr(expected[key], name))


def audit_nothing(found: Any) -> None:
    """A configuration or a table was checked by its own classes."""
    assert found is not None


def audit_finite(found: Any) -> None:
    """An array of finite numbers."""
    assert np.isfinite(found).all()


def audit_state(found: Any) -> None:
    """A checkpoint from which training goes on."""
    state, optimizer = found
    assert state.epoch >= 0
    assert state.step >= state.step_in_epoch >= 0
    assert np.isfinite(state.seconds)
    assert np.isfinite(state.epoch_sums).all()
    assert all(0 <= group["lr"] < 1e3 for group in optimizer.param_groups)
