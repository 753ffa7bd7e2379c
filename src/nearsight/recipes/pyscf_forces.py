"""Energies, forces and second derivatives of molecules with PySCF, with density fitting."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS

from nearsight.errors import RecipeError
from nearsight.recipes.pyscf_system import PyscfSettings, build_system, make_field, pyscf_module, quiet
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV


class PyscfForces(Calculator):
    """A calculator of ASE for molecules; each self-consistent field starts from the density of the last.

    Parameters
    ----------
    settings : PyscfSettings
        The functional, basis and grids of the energy.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, settings: PyscfSettings) -> None:
        super().__init__()
        self.settings = settings
        self._density: Any = None

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Compute energy (eV) and forces (eV/Å) into `results`, as ASE asks for.

        Raises
        ------
        InputError
            Where PySCF cannot compute the structure.
        RecipeError
            Where the field does not converge.
        """
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        with quiet(), pyscf_module().lib.with_omp_threads(self.settings.threads):
            field = fitted_field(Structure.from_ase(self.atoms), self.settings, self._density)
            self._density = field.make_rdm1()
            gradient = field.nuc_grad_method()
            gradient.grid_response = True
            forces = -gradient.kernel() * HARTREE_IN_EV / BOHR_IN_ANGSTROM
            self.results = {"energy": float(field.e_tot) * HARTREE_IN_EV, "forces": forces}


def fitted_field(structure: Structure, settings: PyscfSettings, density: Any = None) -> Any:
    """Return a converged field of a molecule, with Coulomb integrals by density fitting.

    Parameters
    ----------
    structure : Structure
        The molecule.
    settings : PyscfSettings
        How it is computed.
    density : ndarray, shape (n, n), optional
        The density matrix to begin with; superposed atoms if there is none.

    Returns
    -------
    pyscf.dft.rks.RKS
        PySCF's Kohn-Sham object.

    Raises
    ------
    InputError
        Where PySCF cannot compute the structure.
    RecipeError
        Where the field does not converge.
    """
    field = make_field(build_system(structure, settings), structure, settings).density_fit()
    field.kernel(field.get_init_guess(key="atom") if density is None else density)
    if not field.converged:
        raise RecipeError(
            f"expected a self-consistent field of {structure.formula}, got none in {settings.max_scf} "
            "steps; is it torn apart? Take a lower temperature or a shorter time step"
        )
    return field


def relaxed(structure: Structure, settings: PyscfSettings, force: float = 2e-3, steps: int = 200) -> Structure:
    """Return the molecule at its minimum.

    Parameters
    ----------
    structure : Structure
        The molecule.
    settings : PyscfSettings
        How its energy is computed.
    force : float, optional
        The largest force that may remain, eV/Å; PySCF's grids turn a molecule by about 1e-3 eV/Å.
    steps : int, optional
        The largest number of steps.

    Raises
    ------
    RecipeError
        Where forces are larger after all steps.
    """
    atoms = structure.to_ase()
    atoms.calc = PyscfForces(settings)
    if not BFGS(atoms, logfile=None).run(fmax=force, steps=steps):
        raise RecipeError(
            f"expected forces below {force:g} eV/Å in {structure.formula} after {steps} steps, got "
            f"{np.abs(atoms.get_forces()).max():.3g}; start from a better structure"
        )
    return Structure.from_ase(atoms)


def hessian(structure: Structure, settings: PyscfSettings) -> np.ndarray:
    """Return the analytic second derivatives of a molecule's energy.

    Parameters
    ----------
    structure : Structure
        The molecule.
    settings : PyscfSettings
        How its energy is computed.

    Returns
    -------
    ndarray, shape (3N, 3N)
        The second derivatives, eV/Å²; the row of coordinate x of atom i is 3 i + x.
    """
    with quiet(), pyscf_module().lib.with_omp_threads(settings.threads):
        second = fitted_field(structure, settings).Hessian().kernel()
    size = 3 * len(structure)
    return np.asarray(second.transpose(0, 2, 1, 3).reshape(size, size) * HARTREE_IN_EV / BOHR_IN_ANGSTROM**2)
