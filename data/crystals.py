"""Make silicon_2: H and S in real space, from a mesh of k-points, and PySCF's own levels along a path.

    .venv/bin/python data/crystals.py silicon_2

About ten minutes on one core. The path's levels are computed from the converged density at the points of the path
(`get_bands`); H(R) comes from the mesh alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyscf

from nearsight.electronic.k_points import special_path
from nearsight.operators.reduction import reduced
from nearsight.operators.store import write_calculation
from nearsight.recipes.pyscf_job import calculation_of, converged_field
from nearsight.recipes.pyscf_system import PyscfSettings, basis_of, build_system
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

FOLDER = Path(__file__).parent
CRYSTALS = {"silicon_2": (14, 5.431, (8, 8, 8), 40.0)}
"""Atomic number, lattice constant (Å), k-points, plane-wave cutoff (E_h)."""
PATH, POINTS = "GXWLGK", 31
DROP, RESOLUTION = 1e-9, 1e-9
"""E_h; what is stored. Coarser numbers cost levels: S has small eigenvalues."""


def made(name: str) -> None:
    """One crystal."""
    number, a, mesh, cutoff = CRYSTALS[name]
    structure = Structure(
        np.array([number] * 2), np.array([[0, 0, 0], [a / 4] * 3]), a / 2 * (1 - np.eye(3)), np.ones(3, dtype=bool)
    )
    settings = PyscfSettings(
        basis="gth-dzvp-molopt-sr", pseudo="gth-pbe", kpoints=mesh, ke_cutoff=cutoff, conv_tol=1e-8, conv_tol_grad=1e-4
    )
    system = build_system(structure, settings)
    basis = basis_of(system, structure.numbers, settings)
    field, attempt = converged_field(system, structure, settings, lambda event: print(event.message))
    path = special_path(structure, PATH, POINTS)
    levels = np.array(field.get_bands(system.get_abs_kpts(path.points))[0]) * HARTREE_IN_EV
    table = pd.DataFrame(
        np.hstack([path.points, levels]), columns=["kx", "ky", "kz", *(f"level_{n}_eV" for n in range(levels.shape[1]))]
    )
    text = table.to_csv(index=False, float_format="%.10g")
    (FOLDER / f"{name}_bands.csv").write_text(
        f"# {structure.formula}, a = {a} Å: levels of PySCF {pyscf.__version__} (get_bands) along {PATH}, PBE, "
        f"gth-dzvp-molopt-sr, gth-pbe,\n# k-points of the density {mesh[0]} x {mesh[1]} x {mesh[2]}, ke_cutoff "
        f"{cutoff:g} E_h. Made by data/crystals.py.\n" + text
    )
    calculation = calculation_of(field, structure, settings, basis, attempt)
    write_calculation(FOLDER / f"{name}.h5", reduced(calculation, DROP, RESOLUTION))


if __name__ == "__main__":
    for each in sys.argv[1:] or CRYSTALS:
        made(each)
