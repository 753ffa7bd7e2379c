"""Energies, forces and second derivatives of molecules with PySCF, with density fitting."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS

from nearsight.errors import RecipeError
from nearsight.recipes.pyscf_job import build_system, make_field, pyscf_module, quiet
from nearsight.recipes.pyscf_settings import PyscfSettings
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV


class PyscfForces(Calculator):
    """A calculator of ASE; each self-consistent field starts from the density of the last.

    Args:
        settings: functional, basis, grids; molecules only.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, settings: PyscfSettings) -> None:
        super().__init__()
        self.settings = settings
        self._density: Any = None

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy (eV) and forces (eV/Å).

        Raises:
            InputError: what PySCF cannot compute.
            RecipeError: the field does not converge.
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
    """A converged field of a molecule, Coulomb integrals by density fitting.

    Raises:
        InputError: what PySCF cannot compute.
        RecipeError: it does not converge.
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
    """The molecule at its minimum.

    Args:
        structure: a molecule.
        settings: how its energy is computed.
        force: eV/Å, largest that is left; PySCF's grids turn a molecule by about 1e-3 eV/Å.
        steps: at most.

    Raises:
        RecipeError: forces that are larger after all steps.
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
    """(3N, 3N) second derivatives of a molecule's energy, analytic, eV/Å²; atoms first, then x, y, z."""
    with quiet(), pyscf_module().lib.with_omp_threads(settings.threads):
        second = fitted_field(structure, settings).Hessian().kernel()
    size = 3 * len(structure)
    return np.asarray(second.transpose(0, 2, 1, 3).reshape(size, size) * HARTREE_IN_EV / BOHR_IN_ANGSTROM**2)
