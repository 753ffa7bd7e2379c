"""CP2K's output: the numbers of the last step, from the layouts of old and new versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.cp2k_output import read_output
from nearsight.units import HARTREE_IN_EV
from tests.formats.files import MHFO2

BANNER = " CP2K| version string:                                          CP2K version 6.1\n"
OLD = (
    BANNER
    + """
 *** SCF run NOT converged ***
  MO EIGENVALUES AND MO OCCUPATION NUMBERS AFTER SCF STEP 0

# MO index          MO eigenvalue [a.u.]            MO occupation
         1                     -0.500000                 2.000000
         2                      0.250000                 2.000000
# Sum                                                    4.000000

  Fermi energy:                 0.250000
 ENERGY| Total FORCE_EVAL ( QS ) energy (a.u.):              -1.0
"""
)


def test_a_real_output() -> None:
    output = read_output(MHFO2 / "binary_upper" / "hfo2.out")
    assert (output.version, output.converged) == ("2023.1", True)
    assert (output.n_atoms, output.n_orbitals, output.n_electrons, output.n_spins) == (12, 72, 96, 1)
    assert output.eigenvalues is not None
    assert len(output.eigenvalues) == 56
    assert np.all(np.diff(output.eigenvalues) >= 0)
    assert output.eigenvalues[0] == pytest.approx(-1.863742283390 * HARTREE_IN_EV, abs=1e-9)
    gap = output.eigenvalues[48] - output.eigenvalues[47]
    assert gap == pytest.approx(3.837761593019, abs=1e-5)  # printed by CP2K; its eV is of an older CODATA
    assert output.fermi == pytest.approx(output.eigenvalues[47], abs=1e-9)


def test_the_old_layout_and_the_last_of_several_steps(tmp_path: Path) -> None:
    path = tmp_path / "a.out"
    path.write_text(OLD)
    first = read_output(path)
    assert (first.version, first.converged) == ("6.1", False)
    assert first.fermi == pytest.approx(0.25 * HARTREE_IN_EV)
    np.testing.assert_allclose(first.eigenvalues, np.array([-0.5, 0.25]) * HARTREE_IN_EV)
    path.write_text(
        OLD + OLD.replace("-0.500000", "-0.700000").replace("run NOT converged", "run converged in 5 steps")
    )
    second = read_output(path)
    assert second.converged is True
    np.testing.assert_allclose(second.eigenvalues, np.array([-0.7, 0.25]) * HARTREE_IN_EV)


@pytest.mark.parametrize(("unit", "number"), [("[a.u.]:", "-2.5"), ("[hartree]", "-2.5")])
def test_energy_of_several_versions(tmp_path: Path, unit: str, number: str) -> None:
    path = tmp_path / "a.out"
    path.write_text(
        BANNER + f" ENERGY| Total FORCE_EVAL ( QS ) energy {unit}       {number}\n Fermi Energy [eV] :   1.5\n"
    )
    output = read_output(path)
    assert output.energy == pytest.approx(-2.5 * HARTREE_IN_EV)
    assert output.fermi == pytest.approx(1.5)
    assert output.eigenvalues is None


def test_outputs_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.out"
    path.write_text("slurm says hello\n")
    with pytest.raises(FormatError, match="expected an output of CP2K, got a file without its banner"):
        read_output(path)
    path.write_text(OLD.replace("         2   ", "         3   "))
    with pytest.raises(FormatError, match="expected eigenvalue 2, got 3; was the table cut"):
        read_output(path)
