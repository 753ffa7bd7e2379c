"""A mean-field object of PySCF whose one-electron Hamiltonian is a given H, for what PySCF's users do next."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.conventions import PYSCF, from_internal_order, reordered
from nearsight.recipes.pyscf_system import PyscfSettings, basis_of, build_system
from nearsight.recipes.warm_start import known_overlap
from nearsight.units import HARTREE_IN_EV


def pyscf_field(calculation: Calculation, settings: PyscfSettings) -> Any:
    """Return a restricted field with H as `get_hcore` and S as `get_ovlp`, solved once.

    Parameters
    ----------
    calculation : Calculation
        H and, where it has one, S, at Γ.
    settings : PyscfSettings
        The basis and pseudopotential of H.

    Returns
    -------
    pyscf.scf.hf.RHF
        In Hartree and PySCF's order of orbitals, with `mo_energy`, `mo_coeff` and `mo_occ` of H. There is no further
        potential (`get_veff` is zero) and no energy of nuclei, so `e_tot` is the band energy.

    Raises
    ------
    InputError
        If H is in another basis, or the structure is one that PySCF cannot compute.
    """
    from pyscf import scf

    structure = calculation.structure
    system = build_system(structure, settings)
    own = basis_of(system, structure.numbers, settings)
    if own.restricted(structure.elements) != calculation.basis.restricted(structure.elements):
        raise InputError(f"expected the basis of H ({calculation.basis.describe()}), got {own.describe()}")
    order = from_internal_order(PYSCF, own, structure.numbers)
    h = reordered(to_csr(calculation.require_hamiltonian()).toarray() / HARTREE_IN_EV, *order)
    s = reordered(to_csr(known_overlap(calculation)).toarray(), *order)
    molecule = system.to_mol() if structure.pbc.any() else system
    field = scf.RHF(molecule)
    field._chkfile.close()  # PySCF opens one for every field, which is not written here
    field.chkfile = None
    field.get_hcore = lambda *_, **__: h
    field.get_ovlp = lambda *_, **__: s
    field.get_veff = lambda *_, **__: np.zeros_like(h)
    field.energy_nuc = lambda *_, **__: 0.0
    field.kernel(dm0=np.zeros_like(h))
    return field
