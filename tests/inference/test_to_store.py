"""A prediction written block after block is the file of the prediction held in memory."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nearsight.errors import InputError
from nearsight.inference.predict import predict_hamiltonian
from nearsight.inference.to_store import write_prediction
from nearsight.nn.architectures.xia2025.config import Xia2025Config
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import describe, read_blocks, read_calculation, write_calculation
from nearsight.operators.symmetry import is_exactly_hermitian
from nearsight.structures.structure import Structure
from tests.learning.random_calculation import BASIS, CUTOFF, random_calculation, random_structure


@pytest.fixture
def threads():
    """A function that sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def make_model(layers: int = 1) -> Xia2025Model:
    return Xia2025Model.new(Xia2025Config(cutoff=CUTOFF, layers=layers), BASIS, torch.float64, 0)


def head_of(structure: Structure) -> Calculation:
    return Calculation(structure, BASIS.restricted(structure.numbers), cutoff=CUTOFF, provenance={"predicted": "yes"})


def contents(path: Path) -> dict[str, np.ndarray]:
    """Every dataset of a file."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.parametrize(("layers", "symmetrise"), [(1, True), (2, True), (1, False)])
@pytest.mark.parametrize(("chunk", "n_threads"), [(10**6, 1), (101, 2)])
def test_the_streamed_file_is_that_of_the_operator_in_memory(tmp_path, threads, layers, symmetrise, chunk, n_threads):
    model, structure = make_model(layers), random_structure()
    held = predict_hamiltonian(model, structure, hermitian=symmetrise)
    head = head_of(structure)
    at_once = Calculation(structure, head.basis, held, cutoff=CUTOFF, provenance=head.provenance)
    write_calculation(tmp_path / "held.h5", at_once)
    threads(n_threads)
    streamed = model.predict(structure, hermitian=symmetrise, chunk=chunk)
    written = write_prediction(tmp_path / "streamed.h5", head, streamed)

    assert describe(tmp_path / "streamed.h5") == describe(tmp_path / "held.h5")
    assert describe(tmp_path / "streamed.h5")["hamiltonian"]["storage"] == ("half" if symmetrise else "whole")
    first, second = contents(tmp_path / "held.h5"), contents(tmp_path / "streamed.h5")
    assert list(first) == list(second)
    for name, data in first.items():
        if data.dtype.kind == "f":
            np.testing.assert_allclose(second[name], data, atol=1e-12 * np.abs(held.values).max(), err_msg=name)
        else:
            np.testing.assert_array_equal(second[name], data, err_msg=name)
    assert written.n_pairs == held.n_pairs
    on_site = np.concatenate([held.stack(np.array([p])).reshape(-1) for p in np.flatnonzero(held.on_site)])
    assert written.mean_on_site == pytest.approx(np.abs(on_site).mean(), rel=1e-12)


def test_the_file_is_exactly_hermitian_and_read_in_part(tmp_path):
    model, structure = make_model(), random_structure()
    write_prediction(tmp_path / "a.h5", head_of(structure), model.predict(structure))
    hamiltonian = read_calculation(tmp_path / "a.h5").require_hamiltonian()
    assert is_exactly_hermitian(hamiltonian)
    rows = read_blocks(tmp_path / "a.h5", "hamiltonian", np.array([2, 7]))
    np.testing.assert_array_equal(rows.values, hamiltonian.select(np.isin(hamiltonian.source, [2, 7])).values)


def test_the_overlap_is_that_of_the_other_file(tmp_path):
    calculation = random_calculation()
    with_overlap = Calculation(calculation.structure, BASIS, None, calculation.require_hamiltonian())
    write_calculation(tmp_path / "given.h5", with_overlap)
    prediction = make_model().predict(calculation.structure)
    write_prediction(tmp_path / "a.h5", head_of(calculation.structure), prediction, overlap_from=tmp_path / "given.h5")
    overlap = read_calculation(tmp_path / "a.h5").require_overlap()
    np.testing.assert_array_equal(overlap.values, calculation.require_hamiltonian().values)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_model_gone_wrong_leaves_no_file(tmp_path, threads, n_threads):
    threads(n_threads)
    model, structure = make_model(), random_structure()
    with torch.no_grad():
        model.network.edge_head.weight[:] = torch.nan
    prediction = model.predict(structure, chunk=50)
    with pytest.raises(InputError, match="expected finite numbers in hamiltonian"):
        write_prediction(tmp_path / "a.h5", head_of(structure), prediction)
    assert list(tmp_path.iterdir()) == []


def test_atoms_alone(tmp_path):
    structure = Structure([8, 72], [[0.0, 0.0, 0.0], [0.0, 0.0, 50.0]], np.zeros((3, 3)), False)
    written = write_prediction(tmp_path / "a.h5", head_of(structure), make_model().predict(structure))
    assert written.n_pairs == read_calculation(tmp_path / "a.h5").require_hamiltonian().n_pairs == 2
