"""What a division of a graph costs: virtual work, imbalance, and edges that are never labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nearsight.partition.partition import Partition
from nearsight.structures.graph import Graph


@dataclass(frozen=True)
class PartitionCost:
    """What partitions compute beside what is trained.

    Attributes
    ----------
    virtual_nodes : float
        Virtual nodes for each labelled node.
    virtual_edges : float
        Virtual edges for each labelled edge: messages that are computed several times over.
    imbalance : float
        Edges of the largest partition, virtual ones included, divided by the mean; 1 is even.
    """

    virtual_nodes: float
    virtual_edges: float
    imbalance: float

    def describe(self) -> str:
        """Return the numbers in words."""
        return (
            f"{self.virtual_nodes:.2f} virtual atoms and {self.virtual_edges:.2f} virtual edges for each labelled one, "
            f"the largest partition {self.imbalance:.2f} times the mean"
        )


def cost_of(partitions: Sequence[Partition]) -> PartitionCost:
    """Return what partitions compute beside what is trained.

    Parameters
    ----------
    partitions : sequence of Partition
        At least one, of one structure or of several.
    """
    nodes, labelled = (sum(p.n_nodes for p in partitions), sum(p.n_labelled for p in partitions))
    edges, own = (sum(p.n_edges for p in partitions), sum(p.n_labelled_edges for p in partitions))
    largest = max(p.n_edges for p in partitions)
    return PartitionCost(
        (nodes - labelled) / labelled,
        (edges - own) / own if own else float("inf"),
        largest * len(partitions) / edges if edges else 1.0,
    )


@dataclass(frozen=True)
class PartitionQuality:
    """Numbers by which divisions of one structure are compared.

    Attributes
    ----------
    parts : int
        Number of partitions.
    virtual_nodes : float
        Virtual nodes for each labelled node.
    virtual_edges : float
        Virtual edges for each labelled edge: messages that are computed several times over.
    lost_edges : float
        Share of the graph's edges that are labelled in no partition, since they cross a cut.
    imbalance : float
        Edges of the largest partition, virtual ones included, divided by the mean; 1 is even.
    """

    parts: int
    virtual_nodes: float
    virtual_edges: float
    lost_edges: float
    imbalance: float


def quality_of(graph: Graph, partitions: Sequence[Partition]) -> PartitionQuality:
    """Return what a division of a graph costs.

    Parameters
    ----------
    graph : Graph
        The whole structure.
    partitions : sequence of Partition
        Its partitions, each atom labelled in one.

    Returns
    -------
    PartitionQuality
        The numbers.
    """
    own, cost = sum(p.n_labelled_edges for p in partitions), cost_of(partitions)
    lost = 1 - own / graph.n_edges if graph.n_edges else 0.0
    return PartitionQuality(len(partitions), cost.virtual_nodes, cost.virtual_edges, lost, cost.imbalance)
