"""Training on parts equals training on the whole: value and gradient; without the halo it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nearsight.nn.architectures.xia2025.batches import PartitionBatch, partition_tensors, partitions_of
from nearsight.nn.architectures.xia2025.config import Xia2025Config, Xia2025Loss, Xia2025Partition
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.architectures.xia2025.objective import error_sums
from nearsight.partition.metis import pymetis
from nearsight.structures.graph import build_graph
from tests.learning.random_calculation import BASIS, CUTOFF, random_calculation
from tests.nn.architectures.xia2025.batches_of import loss_of_sums, make_batches, part_sums, total_terms

SLABS = Xia2025Partition(axis=0, count=3, thickness=None)
KINDS = [
    SLABS,
    Xia2025Partition(kind="bisection", count=3),
    pytest.param(
        Xia2025Partition(kind="metis", count=3), marks=pytest.mark.skipif(pymetis is None, reason="no pymetis here")
    ),
]


def make_model(layers: int = 1) -> Xia2025Model:
    return Xia2025Model.new(Xia2025Config(cutoff=CUTOFF, layers=layers), BASIS, torch.float64, 0)


def whole_outputs(model: Xia2025Model, calculation) -> tuple[torch.Tensor, torch.Tensor]:
    graph = build_graph(calculation.structure, CUTOFF)
    [part] = partitions_of(calculation.structure, graph, Xia2025Partition(kind="whole"), model.config.layers)
    return model.network(partition_tensors(model, calculation.structure, graph, part))


@pytest.mark.exact
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_labelled_outputs_equal_the_whole_graphs(kind, layers):
    model, calculation = make_model(layers), random_calculation()
    graph = build_graph(calculation.structure, CUTOFF)
    nodes, edges = (t.detach().numpy() for t in whole_outputs(model, calculation))
    parts = partitions_of(calculation.structure, graph, kind, layers)
    assert len(parts) == 3
    for part in parts:
        tensors = partition_tensors(model, calculation.structure, graph, part)
        own_nodes, own_edges = (t.detach().numpy() for t in model.network(tensors))
        assert np.abs(own_nodes - nodes[part.nodes[: part.n_labelled]]).max() < 1e-10
        assert np.abs(own_edges - edges[part.edges[: part.n_labelled_edges]]).max() < 1e-10


def test_without_halo_outputs_differ():
    model, calculation = make_model(), random_calculation()
    graph = build_graph(calculation.structure, CUTOFF)
    nodes = whole_outputs(model, calculation)[0].detach().numpy()
    for part in partitions_of(calculation.structure, graph, SLABS.model_copy(update={"halo": False}), 1):
        own = model.network(partition_tensors(model, calculation.structure, graph, part))[0].detach().numpy()
        assert np.abs(own - nodes[part.nodes[: part.n_labelled]]).max() > 1e-3


def gradients(
    model: Xia2025Model, batches: list[PartitionBatch], loss: Xia2025Loss
) -> tuple[float, dict[str, torch.Tensor]]:
    """As one step of the loop does it."""
    model.network.zero_grad()
    terms = total_terms(batches, loss)
    sums = sum(part_sums(model, p, loss) for p in batches)
    value = loss_of_sums(sums, terms, loss)
    value.backward()
    return value.item(), {k: p.grad.clone() for k, p in model.network.named_parameters() if p.grad is not None}


@pytest.mark.exact
@pytest.mark.parametrize("loss", ["mse", "rmse_mae"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_gradient_of_a_step_over_parts_is_the_whole_graphs(loss, masked, layers):
    assert_gradient_of_the_whole(SLABS, Xia2025Loss(kind=loss, masked=masked), layers)


@pytest.mark.exact
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS[1:])
def test_gradient_does_not_depend_on_the_partitioner(kind, layers):
    assert_gradient_of_the_whole(kind, Xia2025Loss(), layers)


def assert_gradient_of_the_whole(kind: Xia2025Partition, loss: Xia2025Loss, layers: int) -> None:
    """The same labelled rows, taken from the unpartitioned network's outputs."""
    model, calculation = make_model(layers), random_calculation(folded=False)
    batches = make_batches(calculation, model, kind)
    value, parts = gradients(model, batches, loss)
    graph = build_graph(calculation.structure, CUTOFF)
    cuts = partitions_of(calculation.structure, graph, kind, layers)
    model.network.zero_grad()
    nodes, edges = whole_outputs(model, calculation)
    sums = sum(
        error_sums(
            p.targets.gather(nodes[c.nodes[: c.n_labelled]], edges[c.edges[: c.n_labelled_edges]]), p.targets, loss
        )
        for p, c in zip(batches, cuts)
    )
    whole_value = loss_of_sums(sums, total_terms(batches, loss), loss)
    whole_value.backward()
    assert value == pytest.approx(whole_value.item(), rel=1e-12)
    for name, gradient in parts.items():
        expected = dict(model.network.named_parameters())[name].grad
        assert torch.allclose(gradient, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max() + 1e-30)), name


def test_images_are_summed_into_a_folded_target():
    """A prediction per image whose blocks are H(R) has zero error against H(Γ) = Σ_R H(R), in a tiny cell, too."""
    resolved = random_calculation(folded=False, length=5.0)
    folded = random_calculation(folded=True, length=5.0)
    model = make_model()
    whole = Xia2025Partition(kind="whole")
    [per_image] = make_batches(resolved, model, whole)
    [summed] = make_batches(folded, model, whole)
    n = per_image.targets.n_nodes
    assert per_image.targets.row_of_edge is None
    assert summed.targets.row_of_edge is not None
    assert len(summed.targets.values) < len(per_image.targets.values)
    gathered = summed.targets.gather(per_image.targets.values[:n], per_image.targets.values[n:])
    assert float((gathered - summed.targets.values).abs().max()) < 1e-14
    assert float(summed.targets.values.abs().max()) > 1e-2


def test_every_mask_counts_the_matrix_elements():
    calculation, model = random_calculation(folded=False), make_model()
    [batch] = make_batches(calculation, model, Xia2025Partition(kind="whole"))
    sizes = calculation.hamiltonian.offsets
    assert int(batch.targets.mask.sum()) == int(sizes[-1])


def test_bonds_without_overlap_are_learnt():
    """H has blocks where S has none: the targets are H's, whatever S has."""
    calculation, model = random_calculation(folded=False), make_model()
    h = calculation.require_hamiltonian()
    [batch] = make_batches(replace(calculation, overlap=h.select(h.on_site)), model, Xia2025Partition(kind="whole"))
    [whole] = make_batches(calculation, model, Xia2025Partition(kind="whole"))
    assert len(batch.targets.values) == h.n_pairs
    assert torch.equal(batch.targets.values, whole.targets.values)
    assert bool((batch.targets.values != 0).any(dim=1).all())
