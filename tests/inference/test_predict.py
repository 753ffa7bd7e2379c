"""Prediction: Hermitian, independent of the partition, equivariant, and refuses what the model does not know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import eigvalsh
from scipy.spatial.transform import Rotation

from nearsight.errors import CheckpointError, InputError
from nearsight.inference.predict import predict_hamiltonian
from nearsight.nn.architectures.xia2025.config import Xia2025Config, Xia2025Partition
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.loading import load_model
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.symmetry import hermiticity_error, rotate
from nearsight.partition.slabs import Slabs
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.learning.random_calculation import BASIS, CUTOFF, random_calculation, random_structure
from tests.nn.architectures.xia2025.batches_of import make_batches


def make_model(layers: int = 1, dtype: torch.dtype = torch.float64) -> Xia2025Model:
    return Xia2025Model.new(Xia2025Config(cutoff=CUTOFF, layers=layers), BASIS, dtype, 0)


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
    with pytest.raises(InputError, match=r"expected a part for each of 24 atoms, got an array of shape \(23,\)"):
        predict_hamiltonian(make_model(), random_structure(), np.zeros(23, dtype=int))


def test_what_is_not_a_model_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("not a model")
    with pytest.raises(CheckpointError, match="expected a nearsight model"):
        load_model(path)
    with pytest.raises(CheckpointError, match="got nothing of that name"):
        load_model(tmp_path / "none")
