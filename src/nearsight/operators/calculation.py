"""Calculations: a structure with its basis, its operators, and what a DFT code (or a network) said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure

Spin = Literal["up", "down"]
SPINS: tuple[Spin, Spin] = ("up", "down")


@dataclass(frozen=True, eq=False)
class Calculation:
    """One structure and its matrices.

    Attributes
    ----------
    structure : Structure
        Atoms and cell, Å.
    basis : BasisSet
        Orbitals of each element.
    hamiltonian : BlockOperator or None
        H, eV; None where there are two, one for each spin, so that nothing takes one of them for the whole.
    overlap : BlockOperator or None
        S, dimensionless.
    cutoff : float or None
        Å, beyond which blocks were not predicted or not kept; None where nothing was cut.
    energy : float or None
        Total energy, eV.
    fermi : float or None
        Fermi level, eV.
    eigenvalues : (n,) array of float or None
        eV at Γ, as the code printed them, ascending, possibly only the lowest.
    provenance : mapping of str to str
        Where it comes from: plain text by key (`code`, `source`, `settings`, `model` …).
    h0 : BlockOperator or None
        The Kohn-Sham matrix of superposed atomic densities (H₀), eV.
    k_points : (k, 3) array of float or None
        Mesh of the calculation, in units of the reciprocal lattice vectors; None means Γ alone.
    k_eigenvalues : (k, n) or, with two spins, (2, k, n) array of float or None
        eV, as the code printed them at `k_points`.
    error_estimate : (P,) array of float or None
        eV, expected r.m.s. error of the elements of each block of the Hamiltonian; None where nobody said, as for DFT's
        own.
    charge : float
        Total charge in units of e; 0 where nobody said, as in older files.
    multiplicity : int or None
        2S + 1; None where nobody said.
    hamiltonian_up, hamiltonian_down : BlockOperator or None
        H of the electrons of either spin, eV, where the spins are polarised (collinear); both or none. S is that of
        both.

    Raises
    ------
    InputError
        If an operator is on other atoms, in another basis or not finite, the error estimates do not fit the blocks
        of H, or there is H of one spin only, or beside one without spin.
    """

    structure: Structure
    basis: BasisSet
    hamiltonian: BlockOperator | None = None
    overlap: BlockOperator | None = None
    cutoff: float | None = None
    energy: float | None = None
    fermi: float | None = None
    eigenvalues: np.ndarray | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    h0: BlockOperator | None = None
    k_points: np.ndarray | None = None
    k_eigenvalues: np.ndarray | None = None
    error_estimate: np.ndarray | None = None
    charge: float = 0.0
    multiplicity: int | None = None
    hamiltonian_up: BlockOperator | None = None
    hamiltonian_down: BlockOperator | None = None

    def __post_init__(self) -> None:
        spins = [operator is not None for operator in (self.hamiltonian_up, self.hamiltonian_down)]
        if any(spins) and (not all(spins) or self.hamiltonian is not None):
            raise InputError("expected H of both spins and none without spin, got others")
        self.basis.check(self.structure.numbers)
        if not np.isfinite(self.charge) or (self.multiplicity is not None and self.multiplicity < 1):
            raise InputError(
                f"expected a finite charge and a multiplicity of at least 1, got {self.charge} and {self.multiplicity}"
            )
        for name, operator in (
            ("H", self.hamiltonian),
            ("H of spin up", self.hamiltonian_up),
            ("H of spin down", self.hamiltonian_down),
            ("S", self.overlap),
            ("H₀", self.h0),
        ):
            if operator is None:
                continue
            if not np.array_equal(operator.numbers, self.structure.numbers):
                raise InputError(
                    f"expected {name} on the {len(self.structure)} atoms of {self.structure.formula}, "
                    f"got an operator on {operator.n_atoms} atoms or in another order"
                )
            if operator.basis != self.basis.restricted(operator.basis.shells):
                raise InputError(f"expected {name} in {self.basis.describe()}, got {operator.basis.describe()}")
            if operator.n_values and not np.isfinite(operator.values).all():
                raise InputError(
                    f"expected finite numbers in {name}, got "
                    f"{int((~np.isfinite(operator.values)).sum())} that are NaN or infinite"
                )
        blocks = 0 if self.hamiltonian is None else self.hamiltonian.n_pairs
        if self.error_estimate is not None and len(self.error_estimate) != blocks:
            raise InputError(
                f"expected {blocks} error estimates, one for each block of H, got {len(self.error_estimate)}"
            )

    @property
    def spin_polarised(self) -> bool:
        """Whether H is there for either spin."""
        return self.hamiltonian_up is not None

    def of_spin(self, spin: Spin) -> Calculation:
        """Return one spin of a spin-polarised calculation, as if it were a calculation without spin.

        Its levels hold one electron each, not two, so that the valence is left out: nothing fills them by mistake.
        `nearsight.spin_spectrum` fills the levels of both.

        Parameters
        ----------
        spin : {"up", "down"}
            Which one.

        Returns
        -------
        Calculation
            H of this spin as `hamiltonian`, and S; no valence and no Fermi level.

        Raises
        ------
        InputError
            If there is no such spin.
        """
        if spin not in SPINS or not self.spin_polarised:
            raise InputError(
                f"expected a spin, up or down, of a spin-polarised calculation, got {spin!r}"
                + ("" if self.spin_polarised else " and a calculation without spin")
            )
        levels = self.k_eigenvalues
        h, s = (
            None if operator is None else replace(operator, basis=replace(operator.basis, valence={}))
            for operator in (self.hamiltonian_up if spin == "up" else self.hamiltonian_down, self.overlap)
        )
        return Calculation(
            self.structure,
            replace(self.basis, valence={}),
            h,
            s,
            cutoff=self.cutoff,
            k_points=self.k_points,
            k_eigenvalues=None if levels is None else levels[SPINS.index(spin)],
            provenance={**self.provenance, "spin": spin},
        )

    @property
    def n_electrons(self) -> int:
        """Number of valence electrons, those that the pseudopotentials leave, less the charge.

        Raises
        ------
        InputError
            If the valence of an element is not known in the basis, as where no pseudopotential was named.
        """
        return self.electrons()

    def electrons(self, charge: float | None = None) -> int:
        """Count valence electrons.

        Parameters
        ----------
        charge : float, optional
            Total charge in units of e; the calculation's own by default.

        Returns
        -------
        int
            The valence of all atoms less the charge.

        Raises
        ------
        InputError
            If the valence of an element is not known in the basis.
        """
        neutral = self.basis.n_electrons(self.structure.numbers)
        return round(neutral - (self.charge if charge is None else charge))

    def require_hamiltonian(self) -> BlockOperator:
        """Return H.

        Raises
        ------
        InputError
            If it is missing, or there are two, one for each spin.
        """
        if self.spin_polarised:
            raise InputError(
                "expected a Hamiltonian without spin, got one of each spin (spin-polarised); this works without spin "
                "only. `nearsight spectrum` and nearsight.spin_spectrum take both, calculation.of_spin('up') is one"
            )
        if self.hamiltonian is None:
            raise InputError("expected a Hamiltonian, got a file without one")
        return self.hamiltonian

    def require_overlap(self) -> BlockOperator:
        """Return S.

        Raises
        ------
        InputError
            If it is missing; the message says the way out.
        """
        if self.overlap is None:
            raise InputError(
                "expected an overlap matrix S, got a file without one; eigenvalues of a non-orthogonal "
                "basis need it: give a file that holds S (option --overlap)"
            )
        return self.overlap

    def require_h0(self) -> BlockOperator:
        """Return H₀.

        Raises
        ------
        InputError
            If it is missing; the message says the way out.
        """
        if self.h0 is None:
            raise InputError(
                "expected the Kohn-Sham matrix of superposed atomic densities (H₀), got a file without "
                "one; add it with `nearsight import SOURCE --h0 FILE -o OUTPUT`"
            )
        return self.h0
