"""Levels of two spins (collinear), and how electrons fill them: to one Fermi level, or to a fixed moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.bands import hamiltonian_at
from nearsight.electronic.dense import dense_spectrum
from nearsight.electronic.density_of_states import broadened, energy_grid
from nearsight.electronic.filling import Filling, occupations
from nearsight.electronic.matrices import Matrix
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent


@dataclass(frozen=True, eq=False)
class SpinSpectrum:
    """Levels of either spin and their electrons.

    Attributes
    ----------
    points : ndarray of shape (K, 3)
        k-points, in units of the reciprocal lattice vectors.
    weights : ndarray of shape (K,)
        Their weights, which sum to 1.
    up, down : ndarray of shape (K, n)
        Levels in eV, ascending.
    occupations_up, occupations_down : ndarray of shape (K, n)
        Electrons in each level, 0 to 1.
    fermi_up, fermi_down : float
        Fermi levels in eV, which are one unless the moment was fixed. NaN where a spin has no electron, or no room.
    homo_up, homo_down, lumo_up, lumo_down : float
        Highest level of a spin with electrons and lowest with room, eV; NaN where there is none.
    entropy_energy : float
        −T·S in eV; 0 without temperature.
    """

    points: np.ndarray
    weights: np.ndarray
    up: np.ndarray
    down: np.ndarray
    occupations_up: np.ndarray
    occupations_down: np.ndarray
    fermi_up: float
    fermi_down: float
    homo_up: float
    homo_down: float
    lumo_up: float
    lumo_down: float
    entropy_energy: float = 0.0

    @property
    def electrons_up(self) -> float:
        """Number of electrons of spin up in the cell."""
        return float(self.weights @ self.occupations_up.sum(axis=1))

    @property
    def electrons_down(self) -> float:
        """Number of electrons of spin down in the cell."""
        return float(self.weights @ self.occupations_down.sum(axis=1))

    @property
    def moment(self) -> float:
        """Electrons of spin up less those of spin down: the magnetic moment of the cell in Bohr magnetons."""
        return self.electrons_up - self.electrons_down

    @property
    def fermi(self) -> float:
        """The Fermi level (eV); NaN where the moment was fixed, so that there are two."""
        return self.fermi_up if self.fermi_up == self.fermi_down else float("nan")

    @property
    def homo(self) -> float:
        """Highest level with electrons of any spin, eV."""
        return float(np.fmax(self.homo_up, self.homo_down))

    @property
    def lumo(self) -> float:
        """Lowest level with room of any spin, eV."""
        return float(np.fmin(self.lumo_up, self.lumo_down))

    @property
    def gap(self) -> float:
        """LUMO − HOMO in eV, at least 0, whatever their spins."""
        return max(self.lumo - self.homo, 0.0)

    def density(
        self, energies: np.ndarray | None = None, width: float = 0.1
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute the density of states of either spin.

        Parameters
        ----------
        energies : ndarray of shape (E,), optional
            eV; by default about all levels.
        width : float
            Standard deviation (eV) of the Gaussian that stands for a level.

        Returns
        -------
        energies : ndarray of shape (E,)
            eV.
        up, down : ndarray of shape (E,)
            Electrons per eV in the cell.
        """
        every = np.concatenate([self.up.ravel(), self.down.ravel()])
        grid = energy_grid(every, width) if energies is None else energies
        n = self.up.shape[1]
        share = np.repeat(self.weights, n)[None]
        up, down = (broadened(own.ravel(), share, grid, width)[0] for own in (self.up, self.down))
        return grid, up, down


def fill_spins(
    up: np.ndarray,
    down: np.ndarray,
    electrons: float,
    weights: np.ndarray,
    *,
    moment: float | None = None,
    temperature: float | None = None,
) -> tuple[Filling, Filling]:
    """Fill the levels of two spins, one electron to a level.

    Parameters
    ----------
    up, down : ndarray of shape (K, n)
        Levels in eV.
    electrons : float
        Number of electrons in the cell.
    weights : ndarray of shape (K,)
        Weights of the k-points.
    moment : float, optional
        Electrons of spin up less those of spin down. By default both have one Fermi level.
    temperature : float, optional
        In K, of the Fermi–Dirac distribution.

    Returns
    -------
    up, down : Filling
        Of either spin, with 0 to 1 electrons in a level.

    Raises
    ------
    InputError
        If the electrons have no room.
    """
    if moment is not None:
        halves = []
        for levels, number in ((up, (electrons + moment) / 2), (down, (electrons - moment) / 2)):
            if not 0 <= number <= levels.shape[1]:
                raise InputError(
                    f"expected a moment that leaves 0 to {levels.shape[1]} electrons of either spin, got {moment:g} of "
                    f"{electrons:g} electrons"
                )
            halves.append(_of_one(occupations(levels, 2 * number, weights, temperature), slice(None)))
        return halves[0], halves[1]
    if not 0 <= electrons <= 2 * up.shape[1]:
        raise InputError(
            f"expected 0 to {2 * up.shape[1]} electrons in {up.shape[1]} levels of two spins, got {electrons:g}"
        )
    both = occupations(np.concatenate([up, down]), electrons, np.concatenate([weights, weights]), temperature)
    k = len(up)
    return _of_one(both, slice(k), up), _of_one(both, slice(k, None), down)


def _of_one(filling: Filling, rows: slice, levels: np.ndarray | None = None) -> Filling:
    """Half of the electrons of levels that were filled with two; with levels, the edges of these."""
    own = filling.occupations[rows] / 2
    homo, lumo = filling.homo, filling.lumo
    if levels is not None:
        below, above = levels[own > 0.5 - 1e-9], levels[own < 0.5 + 1e-9]
        if filling.entropy_energy == 0:
            below, above = levels[own > 1e-9], levels[own < 1 - 1e-9]
        homo = float(below.max()) if below.size else float("nan")
        lumo = float(above.min()) if above.size else float("nan")
    return Filling(filling.fermi, own, homo, lumo, filling.entropy_energy / 2)


def spin_spectrum(
    calculation: Calculation,
    points: np.ndarray,
    weights: np.ndarray,
    electrons: float,
    *,
    moment: float | None = None,
    temperature: float | None = None,
    progress: Progress = silent,
) -> SpinSpectrum:
    """Diagonalise H of both spins at k-points and fill the levels.

    Parameters
    ----------
    calculation : Calculation
        A spin-polarised one with S; in real space where there are k-points other than Γ.
    points : ndarray of shape (K, 3)
        k-points in units of the reciprocal lattice vectors.
    weights : ndarray of shape (K,)
        Their weights.
    electrons : float
        Number of electrons in the cell.
    moment : float, optional
        Electrons of spin up less those of spin down; by default both spins have one Fermi level.
    temperature : float, optional
        In K, of the electrons.
    progress : callable, optional
        Told the number of k-points done.

    Returns
    -------
    SpinSpectrum
        Levels of either spin, filled.

    Raises
    ------
    InputError
        If there is no H of two spins, S is missing or not positive definite, or the electrons have no room.
    """
    h_up, h_down = calculation.hamiltonian_up, calculation.hamiltonian_down
    if h_up is None or h_down is None:
        raise InputError("expected H of both spins, got a calculation without; `nearsight spectrum` takes it")
    s = calculation.require_overlap()
    if np.any(points) and (h_up.folded or s.folded):
        raise InputError("expected real-space matrices for k-points, got matrices that are summed at Γ")
    levels: list[list[np.ndarray]] = [[], []]
    progress(Event("levels of both spins", 0, len(points)))
    for k, point in enumerate(points):
        overlap = _at(s, point)
        for h, own in zip((h_up, h_down), levels):
            own.append(dense_spectrum(_at(h, point), overlap, 0).eigenvalues)
        progress(Event(done=k + 1, total=len(points)))
    if len({len(row) for own in levels for row in own}) != 1:
        raise InputError(
            "expected as many levels at every k-point, got another number of directions that S does not "
            "resolve; use a smaller or less diffuse basis"
        )
    up, down = (np.array(own) for own in levels)
    shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
    a, b = fill_spins(up, down, electrons, shares, moment=moment, temperature=temperature)
    return SpinSpectrum(
        points,
        shares,
        up,
        down,
        a.occupations,
        b.occupations,
        a.fermi,
        b.fermi,
        a.homo,
        b.homo,
        a.lumo,
        b.lumo,
        a.entropy_energy + b.entropy_energy,
    )


def _at(operator: BlockOperator, k: np.ndarray) -> Matrix:
    return hamiltonian_at(operator, k) if np.any(k) else operator
