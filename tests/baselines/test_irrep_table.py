"""IrrepTable: parity, transposes and columns of the coupled vector."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from tests.random_cases import HFO2_SZV

TABLE = IrrepTable(CoupledLayout(HFO2_SZV))


@pytest.mark.parametrize(("zi", "zj"), [(8, 8), (8, 72), (72, 72)])
def test_exchanged_columns_are_those_of_the_transposed_block(zi: int, zj: int, rng: np.random.Generator) -> None:
    layout = TABLE.layout
    blocks = rng.standard_normal((5, HFO2_SZV.n_orbitals(zi), HFO2_SZV.n_orbitals(zj)))
    there, back = layout.couple(blocks, zi, zj), layout.couple(blocks.transpose(0, 2, 1), zj, zi)
    sign = np.where(TABLE.natural, 1, -1)[TABLE.irrep_of_column]
    np.testing.assert_allclose((sign * there)[:, TABLE.exchanged_columns], back, atol=1e-14)
    np.testing.assert_allclose(TABLE.transposed(there), back, atol=1e-14)
    assert np.array_equal(TABLE.transposed(TABLE.transposed(there)), there)


def test_starts_and_harmonics_of_columns() -> None:
    for k, (start, l) in enumerate(zip(TABLE.start, TABLE.degree)):
        assert (TABLE.irrep_of_column[start : start + 2 * l + 1] == k).all()
        assert (TABLE.harmonic_of_column[start : start + 2 * l + 1] == np.arange(l * l, (l + 1) ** 2)).all()


def test_filled_irreps_of_hfo2() -> None:
    assert [TABLE.names[k] for k in np.flatnonzero(TABLE.filled(8, 8))] == [
        "s0 s0 L0",
        "s0 p0 L1",
        "p0 s0 L1",
        "p0 p0 L0",
        "p0 p0 L2",
    ]
    assert TABLE.filled(72, 72).sum() == 3 * 3 - 1 + 3 * 2 + 2 + 4 + 3 - 2


def test_an_exchanged_irrep_exists_for_every_basis() -> None:
    table = IrrepTable(CoupledLayout(BasisSet("test", {1: (0, 0), 6: (1, 2, 0), 20: (3,)}, {})))
    assert (table.exchanged[table.exchanged] == np.arange(len(table.degree))).all()
    assert (table.natural == table.natural[table.exchanged]).all()
