"""Random structures and operators, as functions and as hypothesis strategies."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.symmetry import hermitian_part
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.structures.graph import Graph, build_graph, pair_order
from nearsight.structures.structure import MINIMUM_DISTANCE, Structure

HFO2_SZV = basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72])


def random_cell(rng: np.random.Generator, shortest: float, longest: float) -> np.ndarray:
    """(3, 3) skewed cell in any orientation, left-handed every other time, no height below 0.45 of `shortest`."""
    lengths = rng.uniform(shortest, longest, 3)
    cell = np.diag(lengths)
    cell[1, 0], cell[2, 0], cell[2, 1] = rng.uniform(-0.8, 0.8, 3) * lengths[[0, 0, 1]]
    turned = cell[rng.permutation(3)] @ Rotation.random(random_state=rng).as_matrix()
    return turned * rng.choice([-1, 1])


def random_structure(
    n: int,
    rng: np.random.Generator,
    *,
    shortest: float = 2.0,
    longest: float = 8.0,
    pbc: tuple[bool, bool, bool] = (True, True, True),
    numbers: tuple[int, ...] = (8, 72),
    zero_rows: bool = False,
) -> Structure:
    """Atoms anywhere in and around a random cell, none nearer to another (or its image) than 0.5 Å.

    Positions are not wrapped. With `zero_rows` the cell has no vectors along directions that are not periodic.
    """
    cell = random_cell(rng, shortest, longest)
    kept = np.zeros((0, 3))
    while len(kept) < n:
        candidate = np.concatenate([kept, rng.uniform(-1.0, 2.0, (1, 3)) @ cell])
        if _nearest(candidate, cell) > MINIMUM_DISTANCE + 0.2:
            kept = candidate
    if zero_rows:
        cell = np.where(np.array(pbc)[:, None], cell, 0.0)
    return Structure(rng.choice(numbers, n), kept, cell, pbc)


def _nearest(positions: np.ndarray, cell: np.ndarray) -> float:
    """Å, from the last position to the others and to all their images."""
    images = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3) @ cell
    fractional = (positions[-1] - positions) @ np.linalg.inv(cell)
    offsets = (fractional - np.round(fractional)) @ cell + images
    distances = np.linalg.norm(offsets, axis=-1)
    return float(distances[distances > 1e-9].min())


def random_hfo2(n_units: int, rng: np.random.Generator, length: float | None = None) -> Structure:
    """HfO₂ of 3·n_units atoms near the points of a grid in a slightly skewed periodic cell of natural density."""
    side = int(np.ceil((3 * n_units) ** (1 / 3)))
    length = (3 * n_units * 12.17) ** (1 / 3) if length is None else length
    cell = length * (np.eye(3) + np.tril(rng.uniform(-0.2, 0.2, (3, 3)), -1))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = grid[rng.permutation(len(grid))[: 3 * n_units]] + rng.uniform(-0.1, 0.1, (3 * n_units, 3))
    numbers = rng.permutation(np.repeat([72, 8, 8], n_units))
    return Structure(numbers, chosen / side @ cell, cell, True)


def pairs_of(graph: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, target, shift of the graph's edges and of every atom with itself, sorted."""
    atoms = np.arange(graph.n_nodes)
    source, target = np.concatenate([graph.source, atoms]), np.concatenate([graph.target, atoms])
    shift = np.concatenate([graph.shift, np.zeros((graph.n_nodes, 3), dtype=np.int64)])
    order = pair_order(source, target, shift)
    return source[order], target[order], shift[order]


def random_operator(
    structure: Structure,
    graph: Graph,
    basis: BasisSet,
    rng: np.random.Generator,
    *,
    hermitian: bool = True,
    folded: bool = False,
) -> BlockOperator:
    """Normally distributed numbers on the graph's pairs and on site; folded is the sum over images."""
    operator = zeros(structure.numbers, basis, *pairs_of(graph), False)
    operator = operator.with_values(rng.standard_normal(operator.n_values))
    operator = hermitian_part(operator) if hermitian else operator
    return fold(operator) if folded else operator


def random_overlap(
    structure: Structure, graph: Graph, basis: BasisSet, rng: np.random.Generator, *, folded: bool = False
) -> BlockOperator:
    """Hermitian, ones on the diagonal, and small enough elsewhere to be positive definite at every k."""
    operator = random_operator(structure, graph, basis, rng)
    widest = max(basis.n_orbitals(z) for z in basis.shells) * int(np.bincount(operator.source).max())
    values = operator.values / (2 * widest * np.abs(operator.values).max())
    for i in np.flatnonzero(operator.on_site):
        size = basis.n_orbitals(int(operator.numbers[operator.source[i]]))
        values[operator.offsets[i] : operator.offsets[i + 1]] = np.eye(size).reshape(-1)
    overlap = operator.with_values(values)
    return fold(overlap) if folded else overlap


@st.composite
def structures(
    draw: st.DrawFn, max_atoms: int = 8, periodic: bool | None = None, shortest: float = 2.0, longest: float = 8.0
) -> Structure:
    """Random structures: skewed, left-handed, tiny cells; any mixture of periodic directions unless given."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n = draw(st.integers(1, max_atoms), label="atoms")
    pbc = (periodic,) * 3 if periodic is not None else draw(st.tuples(*[st.booleans()] * 3), label="pbc")
    zero_rows = draw(st.booleans(), label="zero rows")
    return random_structure(n, rng, shortest=shortest, longest=longest, pbc=pbc, zero_rows=zero_rows)


@st.composite
def operators(draw: st.DrawFn, hermitian: bool = True, folded: bool = False) -> BlockOperator:
    """Random operators of small Hf-O structures of `structures`."""
    structure = draw(structures(max_atoms=5, shortest=3.0, longest=6.0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="values"))
    graph = build_graph(structure, draw(st.floats(2.0, 5.0), label="cutoff"))
    return random_operator(structure, graph, HFO2_SZV, rng, hermitian=hermitian, folded=folded)


rotations = st.integers(0, 2**32 - 1).map(lambda seed: Rotation.random(random_state=seed).as_matrix())
"""Random proper rotations."""
