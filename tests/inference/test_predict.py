"""Prediction: Hermitian, independent of partition and chunks, equivariant, written as it is made, and its refusals."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.linalg import eigvalsh
from scipy.spatial.transform import Rotation

from nearsight.errors import CheckpointError, InputError
from nearsight.inference.predict import predict_hamiltonian, write_prediction
from nearsight.nn.architectures.xia2025.config import Xia2025Config, Xia2025Partition
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.loading import load_model
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import describe, read_blocks, read_calculation, write_calculation
from nearsight.operators.symmetry import hermiticity_error, is_exactly_hermitian, rotate
from nearsight.partition.slabs import Slabs
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.learning.random_calculation import BASIS, CUTOFF, random_calculation, random_structure
from tests.nn.architectures.xia2025.batches_of import make_batches


def make_model(layers: int = 1, dtype: torch.dtype = torch.float64) -> Xia2025Model:
    return Xia2025Model.new(Xia2025Config(cutoff=CUTOFF, layers=layers), BASIS, dtype, 0)


@pytest.mark.exact
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_parts_give_the_whole(layers, dtype, tolerance):
    model, structure = make_model(layers, dtype), random_structure()
    whole = predict_hamiltonian(model, structure)
    scale = np.abs(whole.values).max()
    for slabs in (Slabs(axis=0, count=4), Slabs(axis=1, count=2)):
        parts = predict_hamiltonian(model, structure, slabs.assign(structure), chunk=37)
        assert np.abs(parts.values - whole.values).max() / scale < tolerance


@pytest.mark.parametrize("layers", [1, 2])
def test_prediction_is_the_networks_output_uncoupled(layers):
    """The same numbers as the training path sees, on an operator made of the prediction itself."""
    model, calculation = make_model(layers), random_calculation(folded=False)
    raw = predict_hamiltonian(model, calculation.structure, hermitian=False)
    from dataclasses import replace

    [batch] = make_batches(replace(calculation, hamiltonian=raw), model, Xia2025Partition(kind="whole"))
    with torch.no_grad():
        output = batch.targets.gather(*model.network(batch.graph))
    error = (output - batch.targets.values) * batch.targets.mask
    assert float(error.abs().max()) < 1e-12
    assert float(batch.targets.values.abs().max()) > 1e-2


@pytest.mark.exact
def test_prediction_is_hermitian():
    model, structure = make_model(), random_structure()
    assert hermiticity_error(predict_hamiltonian(model, structure)) == 0.0
    assert hermiticity_error(predict_hamiltonian(model, structure, hermitian=False)) > 1e-3


def test_blocks_rotate_with_the_structure_and_the_spectrum_stays():
    model, structure = make_model(), random_structure()
    rotation = Rotation.random(random_state=11).as_matrix()
    straight = predict_hamiltonian(model, structure)
    turned = predict_hamiltonian(model, structure.rotated(rotation))
    assert np.abs(turned.values - rotate(straight, rotation).values).max() / HARTREE_IN_EV < 1e-10
    eigenvalues = [eigvalsh(to_csr(fold(h)).toarray()) for h in (straight, turned)]
    assert np.abs(eigenvalues[0] - eigenvalues[1]).max() < 1e-9
    assert np.abs(turned.values - straight.values).max() > 0.1


def test_isolated_atom():
    hamiltonian = predict_hamiltonian(make_model(), Structure([8], [[0.0, 0.0, 0.0]], np.zeros((3, 3)), False))
    assert hamiltonian.n_pairs == 1
    assert np.isfinite(hamiltonian.values).all()


def test_unknown_element_is_named():
    structure = Structure([8, 22], [[0.0, 0.0, 0.0], [1.9, 0.0, 0.0]], np.zeros((3, 3)), False)
    with pytest.raises(InputError, match=r"expected a structure of the model's elements \(O, Hf\), got Ti"):
        predict_hamiltonian(make_model(), structure)


def test_parts_of_another_structure():
    with pytest.raises(
        InputError, match=r"expected a partition label for each of 24 atoms, got an array of shape \(23,\)"
    ):
        predict_hamiltonian(make_model(), random_structure(), np.zeros(23, dtype=int))


def test_what_is_not_a_model_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("not a model")
    with pytest.raises(CheckpointError, match="expected a nearsight model"):
        load_model(path)
    with pytest.raises(CheckpointError, match="got nothing of that name"):
        load_model(tmp_path / "none")


@pytest.fixture
def threads():
    """A function that sets the number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


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


@pytest.mark.exact
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
    write_prediction(tmp_path / "a.h5", head_of(calculation.structure), prediction, overlap=tmp_path / "given.h5")
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
