"""A box shorter than twice the cutoff: predictions per image against a matrix that holds their sums at Γ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.inference.predict import predict_hamiltonian
from nearsight.nn.architectures.xia2025.config import Xia2025Config, Xia2025Loss, Xia2025Partition
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.store import read_calculation
from nearsight.structures.graph import build_graph
from tests.nn.architectures.xia2025.batches_of import make_batches, part_sums

FILE = Path(__file__).parents[4] / "data" / "aHfO2_96_A.h5"
CUTOFF = 8.0


@pytest.fixture(scope="module")
def case():
    """The real 96-atom cell (10.53 Å), a random network, and its prediction resolved in R."""
    calculation = read_calculation(FILE, overlap=False)
    model = Xia2025Model.new(
        Xia2025Config(cutoff=CUTOFF, channels=4, hidden=4, alpha=4, value=4, feed_forward=8),
        calculation.basis,
        torch.float64,
        3,
    )
    return calculation, model, predict_hamiltonian(model, calculation.structure, hermitian=False)


def test_many_pairs_have_several_images(case):
    calculation, _, _ = case
    graph = build_graph(calculation.structure, CUTOFF)
    pairs = np.unique(graph.source * 96 + graph.target, return_counts=True)[1]
    assert calculation.structure.cell[0, 0] < 2 * CUTOFF
    assert (pairs > 1).sum() > 1000


def test_sum_over_images_is_the_gamma_matrix(case):
    _, _, resolved = case
    assert np.abs((to_csr(resolved) - to_csr(fold(resolved))).data).max(initial=0.0) < 1e-12
    assert fold(resolved).n_pairs < resolved.n_pairs


@pytest.mark.parametrize("partition", [Xia2025Partition(kind="whole"), Xia2025Partition(count=3, thickness=None)])
def test_prediction_per_image_agrees_with_its_folded_target(case, partition):
    """The loss against the Γ matrix of the network's own prediction vanishes; against CP2K's it does not."""
    calculation, model, resolved = case
    loss = Xia2025Loss(masked=True)
    with torch.no_grad():
        own = make_batches(replace(calculation, hamiltonian=fold(resolved)), model, partition)
        assert all(batch.targets.row_of_edge is not None for batch in own)
        assert sum(float(part_sums(model, p, loss)[0]) for p in own) < 1e-20
        real = make_batches(calculation, model, partition)
        assert sum(float(part_sums(model, p, loss)[0]) for p in real) > 1.0
