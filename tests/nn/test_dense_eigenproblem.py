"""Torch's eigenvectors give the densities that LAPACK's give, on the CPU and on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.electronic.eigenvectors import eigenvectors
from nearsight.nn.dense_eigenproblem import by_torch, eigensolver_on
from nearsight.operators.store import read_calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.atomic_density import Diagonalise, LoewdinBasis

DATA = Path(__file__).parents[2] / "data" / "aHfO2_96_A.h5"


def compare(diagonalise: Diagonalise) -> None:
    known = read_calculation(DATA)
    layout, h = CoupledLayout(known.basis.restricted(known.structure.numbers)), known.require_hamiltonian()
    expected = LoewdinBasis(known, layout).density_of(h)[0]
    basis = LoewdinBasis(known, layout, diagonalise=diagonalise)
    for single, allowed in ((False, 1e-9), (True, 1e-4)):
        found = basis.density_of(h, single=single)[0]
        np.testing.assert_allclose(found.vector(), expected.vector(), atol=allowed)


def test_torch_on_the_cpu() -> None:
    compare(by_torch(torch.device("cpu")))


@pytest.mark.gpu
def test_torch_on_a_gpu(gpu: torch.device) -> None:
    compare(eigensolver_on(gpu))


def test_on_the_cpu_it_is_lapack() -> None:
    assert eigensolver_on(torch.device("cpu")) is eigenvectors
