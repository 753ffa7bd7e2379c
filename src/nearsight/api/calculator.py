"""A model as a calculator of ASE: `atoms.calc = ns.Calculator(model)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from nearsight.api.matrices import Hamiltonian
from nearsight.api.models import Model, load_model
from nearsight.api.spectra import charges, density_of_states, spectrum
from nearsight.errors import InputError


class Calculator(AseCalculator):
    """A calculator of ASE that predicts H, and what follows from it at Γ.

    Properties are `gap` and `fermi_level` (eV), `charges` (e, Mulliken) and `eigenvalues` (eV); the Hamiltonian itself
    is `calculator.hamiltonian`, the density of states `calculator.dos()`. There are no energies and no forces: ASE says
    so where they are asked for.

    Parameters
    ----------
    model : Model, str or pathlib.Path
        A model, or its file or the folder of its run.
    **keys
        Passed on to `Model.predict`, such as ``self_consistent=False``.

    Examples
    --------
    >>> import nearsight as ns  # doctest: +SKIP
    >>> atoms.calc = ns.Calculator("runs/hfo2")  # doctest: +SKIP
    >>> atoms.calc.get_property("gap", atoms), atoms.get_charges()  # doctest: +SKIP
    """

    implemented_properties = ["charges", "eigenvalues", "fermi_level", "gap"]  # noqa: RUF012 - as ASE declares it

    def __init__(self, model: Model | str | Path, **keys: Any) -> None:
        super().__init__()
        self.model = load_model(model) if isinstance(model, str | Path) else model
        self.keys = keys
        self.hamiltonian: Hamiltonian | None = None

    def calculate(
        self, atoms: Any = None, properties: list[str] | None = None, system_changes: list[str] = all_changes
    ) -> None:
        """Predict H of some atoms and compute all properties; ASE calls this."""
        super().calculate(atoms, properties or ["gap"], system_changes)
        self.hamiltonian = h = self.model.predict(atoms, **self.keys)
        levels = spectrum(h)
        self.results = {
            "charges": charges(h),
            "eigenvalues": levels.eigenvalues,
            "fermi_level": levels.fermi,
            "gap": levels.gap,
        }

    def dos(self, **keys: Any) -> Any:
        """Return the density of states of the last structure; see `nearsight.density_of_states`."""
        if self.hamiltonian is None:
            raise InputError("expected atoms with this calculator whose properties were asked for, got none yet")
        return density_of_states(self.hamiltonian, **keys)
