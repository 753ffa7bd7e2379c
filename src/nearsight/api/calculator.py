"""A model as a calculator of ASE: `atoms.calc = ns.Calculator(model)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from nearsight.api.conversions import to_ase_bands
from nearsight.api.matrices import Hamiltonian
from nearsight.api.models import Model, load_model
from nearsight.api.spectra import charges, density_of_states, spectrum
from nearsight.api.starts import total_energy
from nearsight.errors import InputError

if TYPE_CHECKING:
    from ase.spectrum.band_structure import BandStructure

    from nearsight.electronic.density_of_states import DensityOfStates

_ALWAYS = ("charges", "eigenvalues", "fermi_level", "gap")


class Calculator(AseCalculator):
    """A calculator of ASE that predicts H, and what follows from it at Γ.

    Properties are `gap` and `fermi_level` (eV), `charges` (e, Mulliken) and `eigenvalues` (eV); the Hamiltonian itself
    is `calculator.hamiltonian`. `dos` and `band_structure` compute more of it. ASE's own functions work, too:
    `ase.dft.bandgap.bandgap(atoms.calc)`, `ase.dft.dos.DOS(atoms.calc)`. `energy` is there where it is said how PySCF
    computes it. There are no forces: ASE says so where they are asked for.

    Parameters
    ----------
    model : Model, str or pathlib.Path
        A model, or its file or the folder of its run.
    energy : mapping, optional
        How PySCF computes the total energy of the predicted density (`nearsight.total_energy`), such as
        ``{"functional": "pbe", "basis": "def2-svp"}``: those of the training data.
    **keys
        Passed on to `Model.predict`, such as ``self_consistent=False``.

    Examples
    --------
    >>> import nearsight as ns  # doctest: +SKIP
    >>> atoms.calc = ns.Calculator("runs/hfo2")  # doctest: +SKIP
    >>> atoms.calc.get_property("gap", atoms), atoms.get_charges()  # doctest: +SKIP
    >>> atoms.calc.dos(atoms).energies, atoms.calc.band_structure("GX", atoms=atoms)  # doctest: +SKIP
    """

    def __init__(self, model: Model | str | Path, *, energy: Mapping[str, Any] | None = None, **keys: Any) -> None:
        super().__init__()
        self.implemented_properties = [*_ALWAYS, *(["energy"] if energy is not None else [])]
        self.model = load_model(model) if isinstance(model, str | Path) else model
        self.keys = keys
        self.energy_keys = energy
        self.hamiltonian: Hamiltonian | None = None

    def calculate(
        self, atoms: Any = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Predict H of some atoms and compute all properties; ASE calls this."""
        super().calculate(atoms, properties or ["gap"], system_changes)
        if system_changes or self.hamiltonian is None:
            self.hamiltonian = self.model.predict(atoms, **self.keys)
        h = self.hamiltonian
        levels = spectrum(h)
        self.results = {
            "charges": charges(h),
            "eigenvalues": levels.eigenvalues,
            "fermi_level": levels.fermi,
            "gap": levels.gap,
        }
        if self.energy_keys is not None and "energy" in (properties or ()):
            self.results["energy"] = total_energy(h, **self.energy_keys).total

    def dos(self, atoms: Any = None, **keys: Any) -> DensityOfStates:
        """Return the density of states.

        Parameters
        ----------
        atoms : ase.Atoms, optional
            Of which structure; by default the last one.
        **keys
            Passed on to `nearsight.density_of_states`, such as ``mesh=(4, 4, 4)``.
        """
        return density_of_states(self._of(atoms), **keys)

    def band_structure(self, path: str | None = None, points: int = 100, atoms: Any = None) -> BandStructure:
        """Return bands as ASE's band structure.

        Parameters
        ----------
        path : str, optional
            Special points, such as ``"GXWLG"``; ASE's path for the lattice by default.
        points : int, optional
            Number of k-points.
        atoms : ase.Atoms, optional
            Of which structure; by default the last one.
        """
        return to_ase_bands(self._of(atoms), path, points)

    def get_fermi_level(self) -> float:
        """Return the Fermi level of the last structure, eV."""
        return float(self._last("fermi_level"))

    def get_eigenvalues(self, kpt: int = 0, spin: int = 0) -> np.ndarray:
        """Return the levels of the last structure, eV: at Γ, the only k-point, of one spin, for both are alike."""
        if (kpt, spin) != (0, 0):
            raise InputError(f"expected k-point 0 (Γ) and spin 0, got {kpt} and {spin}; bands: band_structure()")
        return np.asarray(self._last("eigenvalues"))

    def get_ibz_k_points(self) -> np.ndarray:
        """Return the k-points of the levels, which are Γ alone."""
        return np.zeros((1, 3))

    def get_bz_k_points(self) -> np.ndarray:
        """Return the k-points of the levels, which are Γ alone."""
        return np.zeros((1, 3))

    def get_k_point_weights(self) -> np.ndarray:
        """Return the weights of the k-points."""
        return np.ones(1)

    def get_number_of_spins(self) -> int:
        """Return 1: both spins are alike."""
        return 1

    def get_spin_polarized(self) -> bool:
        """Return False."""
        return False

    def _last(self, name: str) -> Any:
        if self.atoms is None:
            raise InputError("expected atoms with this calculator whose properties were asked for, got none yet")
        return self.get_property(name, self.atoms)

    def _of(self, atoms: Any) -> Hamiltonian:
        """H of some atoms, predicted where it is not that of the last ones."""
        if atoms is None:
            self._last("gap")
        else:
            self.get_property("gap", atoms)
        assert self.hamiltonian is not None
        return self.hamiltonian
