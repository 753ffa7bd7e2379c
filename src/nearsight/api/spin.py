"""From H of two spins and S to levels, moment and Fermi level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.api.sources import CalculationLike, OverlapLike, calculation_of
from nearsight.electronic import spin as _spin
from nearsight.electronic.density_of_states import GAMMA
from nearsight.electronic.k_points import monkhorst_pack
from nearsight.electronic.spin import SpinSpectrum
from nearsight.errors import InputError
from nearsight.progress import Progress, silent


def spin_spectrum(
    h: CalculationLike,
    s: OverlapLike | None = None,
    *,
    mesh: Sequence[int] | None = None,
    points: np.ndarray | None = None,
    n_electrons: float | None = None,
    moment: float | None = None,
    temperature: float | None = None,
    progress: Progress = silent,
) -> SpinSpectrum:
    """Compute the levels of both spins of a spin-polarised calculation, with gap, Fermi level and magnetic moment.

    Parameters
    ----------
    h : str, pathlib.Path, Calculation or object with an attribute `calculation`
        Where H of both spins comes from.
    s : as `h`, or BlockOperator, optional
        Where S comes from; by default from the same calculation.
    mesh : sequence of 3 int, optional
        Numbers of k-points of a Monkhorst–Pack mesh; by default Γ alone.
    points : ndarray of shape (K, 3), optional
        k-points of one's own, in units of the reciprocal lattice vectors, such as those of a path; they weigh the same.
    n_electrons : float, optional
        Number of electrons; by default the valence electrons less the charge.
    moment : float, optional
        Electrons of spin up less those of spin down, to be kept (a fixed-spin-moment calculation). By default both
        spins have one Fermi level, and the moment follows.
    temperature : float, optional
        In K, of the electrons. By default levels are filled from below.
    progress : callable, optional
        Told the number of k-points done.

    Returns
    -------
    SpinSpectrum
        `up` and `down`, levels in eV of shape (K, n), their occupations, `fermi`, `gap` and `moment`;
        `density(width=…)` is the density of states of either spin.

    Raises
    ------
    InputError
        If there is no H of two spins, S or a valence is missing, matrices are folded to Γ where other k-points are
        asked for, or the electrons have no room.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from nearsight.api.files import read
    >>> from nearsight.api.spin import spin_spectrum
    >>> silicon = read("data/silicon_2.h5")
    >>> h = silicon.hamiltonian  # spin down 1 eV above spin up
    >>> s = silicon.overlap.on_pairs(h.source, h.target, h.shift)
    >>> lifted = h.with_values(h.values + s.values)
    >>> magnet = replace(silicon, hamiltonian=None, hamiltonian_up=h, hamiltonian_down=lifted)
    >>> found = spin_spectrum(magnet, moment=2.0)
    >>> found.electrons_up, found.electrons_down
    (5.0, 3.0)
    >>> bool(abs(found.down - found.up - 1.0).max() < 1e-8)
    True
    """
    known = calculation_of(h, s)
    if mesh is not None and points is not None:
        raise InputError("expected a mesh or points, got both")
    weights = np.ones(1 if points is None else len(points))
    if mesh is not None:
        points, weights = monkhorst_pack((int(mesh[0]), int(mesh[1]), int(mesh[2])))
    electrons = known.n_electrons if n_electrons is None else n_electrons
    return _spin.spin_spectrum(
        known,
        GAMMA if points is None else np.asarray(points, dtype=np.float64),
        weights,
        electrons,
        moment=moment,
        temperature=temperature,
        progress=progress,
    )
