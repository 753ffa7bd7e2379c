"""Matrices on disk against those in memory: products, densities of states, and what is refused before it is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from nearsight.electronic.kernel_polynomial import kernel_polynomial, kernel_polynomial_on_disk
from nearsight.electronic.mapped_product import mapped_product
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.store import read_calculation, read_operator_parts

PATH = Path(__file__).parents[2] / "data/silicon_2.h5"


HALF = next(iter(read_operator_parts(PATH, "hamiltonian")))


def in_two(half: BlockOperator = HALF) -> Iterator[BlockOperator]:
    """The half of a matrix, the rows of every other atom first."""
    sizes = half.basis.sizes(half.numbers)
    elements = np.repeat(half.source, sizes[half.source] * sizes[half.target])
    for parity in (0, 1):
        own = half.source % 2 == parity
        pairs = {name: getattr(half, name)[own] for name in ("source", "target", "shift")}
        yield replace(half, **pairs, values=half.values[elements % 2 == parity])


@pytest.mark.parametrize("drop", [0.0, 0.01])
def test_a_matrix_on_disk_is_the_sum_over_images(tmp_path: Path, drop: float) -> None:
    h = read_calculation(PATH).require_hamiltonian()
    kept = h.with_values(np.where(np.abs(h.values) > drop, h.values, 0.0))
    expected = to_csr(kept).toarray()
    product = mapped_product(tmp_path, "H", in_two, drop)
    x = np.random.default_rng(0).standard_normal((product.size, 4)).astype(np.float32)
    np.testing.assert_allclose(product @ x, expected @ x, rtol=1e-5, atol=5e-4)
    found = sparse.csr_matrix((product.values, product.columns, product.starts)).toarray()
    np.testing.assert_allclose(found, expected, atol=5e-5)  # hundreds of images, in single precision
    assert all((np.diff(row) > 0).all() for row in np.split(product.columns, product.starts[1:-1]))
    assert len(list(tmp_path.iterdir())) == 2


def test_the_density_of_states_from_disk_is_that_from_memory(tmp_path: Path) -> None:
    """The same random vectors: what is left is single precision, and the small elements that are left out."""
    path = PATH.with_name("aPtGe2_96_test.h5")
    calculation = read_calculation(path)
    in_memory = kernel_polynomial(calculation.require_hamiltonian(), calculation.require_overlap(), resolution=1.0)
    found = kernel_polynomial_on_disk(
        lambda: read_operator_parts(path, "hamiltonian"),
        lambda: read_operator_parts(path, "overlap"),
        tmp_path,
        resolution=1.0,
    )
    energies = np.linspace(*in_memory.bounds, 200)[1:-1]
    scale = in_memory.density(energies).max()
    np.testing.assert_allclose(found.density(energies), in_memory.density(energies), atol=0.01 * scale)


def test_what_does_not_fit_is_refused_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"expected .* GB of disk for .* elements of H, got 0.0 GB free"):
        mapped_product(tmp_path, "H", in_two, 0.0)
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    wrong = HALF.with_values(np.where(np.arange(len(HALF.values)) == 7, np.nan, HALF.values))
    with pytest.raises(InputError, match="expected finite numbers in H"):
        mapped_product(tmp_path, "H", lambda: in_two(wrong), 0.0)
