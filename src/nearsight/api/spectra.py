"""From H and S to levels, states, densities of states, bands, charges and errors."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from nearsight.api.sources import CalculationLike, OverlapLike, calculation_of, overlap_of
from nearsight.electronic import bands as _bands
from nearsight.electronic import density_of_states as _density_of_states
from nearsight.electronic import eigen as _eigen
from nearsight.electronic import evaluation as _evaluation
from nearsight.electronic.bands import Bands
from nearsight.electronic.conditioning import OVERLAP_THRESHOLD, overlap_threshold
from nearsight.electronic.density_of_states import GAMMA, DensityOfStates
from nearsight.electronic.eigen import known_method
from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.k_points import KPath, monkhorst_pack, path_through, special_path
from nearsight.electronic.populations import Grouping, Kind, atomic_charges
from nearsight.electronic.spectrum import Spectrum, States
from nearsight.errors import FormatError, InputError
from nearsight.memory import free_bytes
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.shards import folder_of
from nearsight.operators.store import read_operator_parts
from nearsight.operators.store_head import OperatorName
from nearsight.progress import Progress, silent
from nearsight.structures.structure import Structure

if TYPE_CHECKING:
    from nearsight.electronic.kernel_polynomial import StochasticDensity
    from nearsight.electronic.mapped_product import Parts

ALL_LEVELS_UP_TO = 10_000
"""Number of orbitals up to which all levels are computed unless another method is asked for."""
WINDOW = 50
"""Number of levels in a window that is computed because all levels would be too many."""


def spectrum(
    h: CalculationLike | BlockOperator,
    s: OverlapLike | None = None,
    *,
    number: int | None = None,
    method: str = "auto",
    n_electrons: int | None = None,
    threshold: float | None = None,
    progress: Progress = silent,
) -> Spectrum:
    """Compute the eigenvalues of H ψ = ε S ψ at Γ, with gap and Fermi level.

    Parameters
    ----------
    h : str, pathlib.Path, Calculation, object with an attribute `calculation`, or BlockOperator
        Where H comes from. Real-space matrices are summed over images.
    s : as `h`, optional
        Where S comes from; by default from the same calculation. A bare operator `h` needs it.
    number : int, optional
        Number of levels around the gap. By default all levels, or above 10,000 orbitals 50.
    method : {"auto", "dense", "window"}
        LAPACK for all levels; or shift-invert Lanczos with a sparse factorisation for some, of which none is missed.
    n_electrons : int, optional
        Number of electrons that fill the levels, two to each. By default the calculation's own, its valence
        electrons less its charge; those of the neutral structure for a bare operator.
    threshold : float, optional
        Directions of the basis in which eigenvalues of S are smaller are projected out. By default 1e-5, or more
        where a predicted H comes with expected errors; never less than 1e-5.
    progress : callable, optional
        Told the method that was chosen and the steps of a window.

    Returns
    -------
    Spectrum
        Levels (eV, ascending) with `gap`, `fermi`, `homo` and `lumo`; `filling(temperature)` gives occupations.

    Raises
    ------
    InputError
        If H or S is missing, not Hermitian, not finite, of another size than the other, or too large for the method;
        or if S is not positive definite.

    Examples
    --------
    >>> from nearsight.api.spectra import spectrum
    >>> levels = spectrum("data/silicon_2.h5")
    >>> len(levels.eigenvalues), levels.n_electrons
    (26, 8)
    >>> bool(levels.homo < levels.fermi < levels.lumo)
    True
    """
    problem = _Problem.of(h, s, n_electrons, threshold)
    chosen, count = _levels_method(problem, method, number)
    return _eigen.solve(
        problem.hamiltonian,
        problem.overlap,
        problem.n_electrons,
        method=known_method(chosen),
        number=count,
        threshold=problem.threshold,
        progress=progress,
    )


def states(
    h: CalculationLike | BlockOperator,
    s: OverlapLike | None = None,
    *,
    number: int | None = None,
    method: str = "auto",
    n_electrons: int | None = None,
    threshold: float | None = None,
    progress: Progress = silent,
) -> States:
    """Compute levels and wavefunctions of H ψ = ε S ψ at Γ.

    All states take several times as long as all levels.

    Parameters
    ----------
    h, s, number, method, n_electrons, threshold, progress
        As for `spectrum`.

    Returns
    -------
    States
        The spectrum, and coefficients C (n orbitals, m states) with Cᵀ S C = 1.

    Raises
    ------
    InputError
        As `spectrum`.

    Examples
    --------
    >>> from nearsight.api.spectra import states
    >>> found = states("data/silicon_2.h5", number=6)
    >>> found.coefficients.shape, found.spectrum.first
    ((26, 6), 1)
    """
    problem = _Problem.of(h, s, n_electrons, threshold)
    chosen, count = _levels_method(problem, method, number)
    return _eigen.solve_states(
        problem.hamiltonian,
        problem.overlap,
        problem.n_electrons,
        method=known_method(chosen),
        number=count,
        threshold=problem.threshold,
        progress=progress,
    )


def recommended_method(n_orbitals: int, method: str = "auto", number: int | None = None) -> tuple[str, int | None]:
    """Choose how to get at a spectrum: all levels, some of them, or the density of states alone.

    Parameters
    ----------
    n_orbitals : int
        Size of H.
    method : {"auto", "dense", "window", "kpm"}
        What was asked for.
    number : int, optional
        Number of levels that was asked for.

    Returns
    -------
    method : {"auto", "dense", "window", "kpm"}
        What to do. ``"auto"`` is left to `spectrum`, which decides between dense and window.
    number : int or None
        Number of levels around the gap; None for all.

    Raises
    ------
    InputError
        If a number of levels is asked of kernel polynomials.

    Examples
    --------
    >>> from nearsight.api.spectra import recommended_method
    >>> recommended_method(2_000)
    ('auto', None)
    >>> recommended_method(2_000, "window")
    ('window', 50)
    >>> recommended_method(10**9)
    ('kpm', None)
    """
    if method == "kpm" and number is not None:
        raise InputError("expected no --states with --method kpm, which gives the density of states alone")
    if method == "window":
        return method, number or WINDOW
    if method != "auto" or number is not None or n_orbitals <= ALL_LEVELS_UP_TO:
        return method, number
    # Two factors at a time, of one energy to solve with and of one to count at; n² numbers each at worst.
    if 16 * n_orbitals**2 < free_bytes():
        return "window", WINDOW
    return "kpm", None


def stochastic_density(
    h: CalculationLike | BlockOperator,
    s: OverlapLike | None = None,
    *,
    resolution: float = 0.2,
    n_vectors: int = 4,
    seed: int = 0,
    progress: Progress = silent,
) -> StochasticDensity:
    """Estimate the density of states at Γ with kernel polynomials, in time and memory linear in the number of atoms.

    Parameters
    ----------
    h, s
        As for `spectrum`. S must be well-conditioned: nothing is projected out. Of a file in parts (its path alone) no
        matrix is held in memory: both are written as sparse ones into a temporary folder (TMPDIR), and removed.
    resolution : float
        Standard deviation (eV) of what a level becomes.
    n_vectors : int
        Number of random vectors, rounded up to a multiple of four. The statistical error falls as
        1/√(number of orbitals · number of vectors).
    seed : int
        Of the random vectors.
    progress : callable, optional
        Told how many moments are done and the time that is left.

    Returns
    -------
    StochasticDensity
        `density(energies)` in electrons per eV, its standard error `error(energies)`, and `fermi(n_electrons)` in eV.

    Raises
    ------
    InputError
        If H or S is missing, S is not positive definite, or the resolution is not positive.

    Notes
    -----
    Weiße et al., Rev. Mod. Phys. 78, 275 (2006).

    Examples
    --------
    >>> from nearsight.api.spectra import stochastic_density
    >>> stochastic_density("data/silicon_2.h5", resolution=2.0).n_levels
    26
    """
    from nearsight.electronic.kernel_polynomial import kernel_polynomial  # compiles; only where it is needed

    if s is None and isinstance(h, (str, Path)) and folder_of(Path(h)) is not None:
        return _density_from_parts(Path(h), resolution, n_vectors, seed, progress)
    hamiltonian, overlap = _operators(h, s)
    return kernel_polynomial(
        hamiltonian, overlap, resolution=resolution, vectors=n_vectors, seed=seed, progress=progress
    )


def _density_from_parts(
    path: Path, resolution: float, n_vectors: int, seed: int, progress: Progress
) -> StochasticDensity:
    """The density of states of a prediction in parts."""
    from nearsight.electronic.kernel_polynomial import kernel_polynomial_on_disk

    def parts(which: OperatorName) -> Parts:
        return lambda: read_operator_parts(path, which)

    with tempfile.TemporaryDirectory(prefix="nearsight-") as folder:
        return kernel_polynomial_on_disk(
            parts("hamiltonian"),
            parts("overlap"),
            Path(folder),
            resolution=resolution,
            vectors=n_vectors,
            seed=seed,
            progress=progress,
        )


def density_of_states(
    h: CalculationLike,
    s: OverlapLike | None = None,
    *,
    width: float = 0.1,
    by: Grouping | None = None,
    kind: Kind = "mulliken",
    mesh: Sequence[int] | None = None,
    temperature: float | None = None,
    n_electrons: float | None = None,
    progress: Progress = silent,
) -> DensityOfStates:
    """Compute the density of states, whole or projected on elements, shells or atoms.

    Parameters
    ----------
    h, s
        As for `spectrum`, but `h` must know its structure (no bare operator).
    width : float
        Standard deviation (eV) of the Gaussian that stands for a level.
    by : {"element", "shell", "atom"}, optional
        Groups of orbitals on which states are projected. By default the total alone, which is several times faster.
    kind : {"mulliken", "loewdin"}
        Populations that share a state among groups.
    mesh : sequence of 3 int, optional
        Numbers of k-points of a Monkhorst–Pack mesh; by default Γ alone. More than Γ needs real-space matrices.
    temperature : float, optional
        In K, of the electrons. By default levels are filled from below.
    n_electrons : float, optional
        Number of electrons in the cell; by default the valence electrons less the charge.
    progress : callable, optional
        Told the number of k-points done.

    Returns
    -------
    DensityOfStates
        `energies` (eV), `total` and `projections` (electrons per eV), and the `filling` with Fermi level and gap.

    Raises
    ------
    InputError
        If H, S or a valence is missing, the width is not positive, or a matrix is folded to Γ where other k-points are
        asked for.

    Examples
    --------
    >>> from nearsight.api.spectra import density_of_states
    >>> found = density_of_states("data/silicon_2.h5", by="shell", mesh=(2, 2, 2))
    >>> sorted(found.projections)
    ['Si d', 'Si p', 'Si s']
    >>> step = found.energies[1] - found.energies[0]
    >>> round(float(found.total.sum() * step), 2)  # two electrons in each of 26 levels
    52.0
    """
    points, weights = (GAMMA, None) if mesh is None else monkhorst_pack(_three(mesh))
    return _density_of_states.density_of_states(
        calculation_of(h, s),
        width,
        by,
        kind,
        points=points,
        weights=weights,
        temperature=temperature,
        n_electrons=n_electrons,
        progress=progress,
    )


def bands(
    h: CalculationLike,
    s: OverlapLike | None = None,
    *,
    path: str | KPath | np.ndarray | None = None,
    points: int = 100,
    progress: Progress = silent,
) -> Bands:
    """Compute the band structure along a path through the Brillouin zone.

    Parameters
    ----------
    h, s
        As for `spectrum`, but `h` must know its structure, and both must be real-space matrices (not folded to Γ).
    path : str, KPath or ndarray of shape (K, 3), optional
        Special points of the lattice by ASE's names, such as ``"GXWLG"`` with a comma where the path jumps; or k-points
        in units of the reciprocal lattice vectors. By default ASE's path for the lattice.
    points : int
        Approximate number of k-points of a path of special points.
    progress : callable, optional
        Told the number of k-points done.

    Returns
    -------
    Bands
        `levels` (K, n) in eV on `path`, with `gap` and `direct_gap`.

    Raises
    ------
    InputError
        If a matrix is folded to Γ or missing, the structure is a molecule, or a special point is unknown.

    Examples
    --------
    >>> from nearsight.api.spectra import bands
    >>> found = bands("data/silicon_2.h5", path="GX", points=11)
    >>> found.levels.shape, round(found.gap, 2)
    ((11, 26), 0.64)
    """
    calculation = calculation_of(h, s)
    if isinstance(path, np.ndarray):
        line = path_through(calculation.structure, path)
    else:
        line = path if isinstance(path, KPath) else special_path(calculation.structure, path, points)
    return _bands.bands(calculation, line, progress)


def band_path(
    structure: Structure, path: str | None = None, points: int = 100, given: np.ndarray | None = None
) -> KPath:
    """Make a path through the Brillouin zone, of special points or of points that are given.

    Parameters
    ----------
    structure : Structure
        Its lattice names the special points.
    path : str, optional
        Special points by ASE's names, such as ``"GXWLG"``. By default ASE's path for the lattice.
    points : int
        Approximate number of k-points of a path of special points.
    given : ndarray of shape (K, 3), optional
        Points that make the path, such as those of a table, in units of the reciprocal lattice vectors. `path` names
        them where it leads through the same points.

    Returns
    -------
    KPath
        Points, distances along the path, and the labels of special points.

    Raises
    ------
    InputError
        If the structure is a molecule, or a special point is unknown.

    Examples
    --------
    >>> from nearsight.api.sources import calculation_of
    >>> from nearsight.api.spectra import band_path
    >>> band_path(calculation_of("data/silicon_2.h5").structure, "GXW", 20).labels
    ('G', 'X', 'W')
    """
    if given is None:
        return special_path(structure, path, points)
    line = path_through(structure, given)
    named = special_path(structure, path, len(given)) if path is not None else None
    same = named is not None and named.points.shape == given.shape and np.allclose(named.points, given, atol=1e-6)
    return named if named is not None and same else line


def read_band_table(file: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the k-points and levels of a CSV table, such as another program's bands.

    Parameters
    ----------
    file : str or pathlib.Path
        Columns kx, ky, kz in units of the reciprocal lattice vectors, then one column of eV for each level. Lines that
        begin with ``#`` are remarks.

    Returns
    -------
    points : ndarray of shape (K, 3)
        In units of the reciprocal lattice vectors.
    levels : ndarray of shape (K, n)
        In eV.

    Raises
    ------
    FormatError
        If the file is not such a table.

    Examples
    --------
    >>> from nearsight.api.spectra import read_band_table
    >>> points, levels = read_band_table("data/silicon_2_bands.csv")
    >>> points.shape[1], len(points) == len(levels)
    (3, True)
    """
    try:
        rows = pd.read_csv(file, comment="#")
        numbers = rows.to_numpy(dtype=np.float64)
    except (OSError, ValueError) as error:
        raise FormatError(file, f"expected a table with columns kx, ky, kz and levels, got: {error}") from None
    if list(rows.columns[:3]) != ["kx", "ky", "kz"] or numbers.shape[1] < 4 or not np.isfinite(numbers).all():
        raise FormatError(
            file,
            "expected finite numbers in columns kx, ky, kz and levels (eV), got "
            f"{', '.join(map(str, rows.columns[:4]))}",
        )
    return numbers[:, :3], numbers[:, 3:]


def charges(
    h: CalculationLike,
    s: OverlapLike | None = None,
    *,
    kind: Kind = "mulliken",
    charge: float | None = None,
    temperature: float | None = None,
) -> np.ndarray:
    """Compute the charges of the atoms from H and S at Γ.

    Parameters
    ----------
    h, s
        As for `spectrum`, but `h` must know its structure (no bare operator).
    kind : {"mulliken", "loewdin"}
        How electrons are shared among atoms.
    charge : float, optional
        Of the cell, in e; the calculation's own by default.
    temperature : float, optional
        In K, of the electrons. By default levels are filled from below.

    Returns
    -------
    ndarray of shape (N,)
        Charges of the atoms in e; they add up to the cell's.

    Raises
    ------
    InputError
        If H, S or a valence is missing, S is not positive definite, or the electrons have no room.

    Examples
    --------
    >>> from nearsight.api.spectra import charges
    >>> bool(abs(charges("data/silicon_2.h5")).max() < 1e-3)  # both atoms are alike
    True
    """
    return atomic_charges(calculation_of(h, s), kind, charge, temperature)


def evaluate(
    prediction: CalculationLike,
    reference: CalculationLike,
    *,
    overlap: OverlapLike | None = None,
    eigenvalues: bool = True,
    states: bool | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Compare a predicted Hamiltonian with a reference: matrix elements, eigenvalues and states.

    Parameters
    ----------
    prediction, reference : str, pathlib.Path, Calculation or object with an attribute `calculation`
        Of the same structure. Errors are taken over the blocks that the prediction holds.
    overlap : as `reference`, or BlockOperator, optional
        S of both spectra. By default the reference's, or the prediction's where the reference has none.
    eigenvalues : bool
        Whether the spectra are compared.
    states : bool, optional
        Whether wavefunctions and charges are compared, too, which takes several times as long. By default up to 3,000
        orbitals, which takes seconds.
    progress : callable, optional
        Told what is under way.

    Returns
    -------
    Evaluation
        `matrix` with the errors ε_n, ε_e and ε_tot (eV), `spectrum` and `levels` where there is an overlap, `states`
        where they were asked for; docs/metrics.md says what each number means.

    Raises
    ------
    InputError
        If the structures differ, a Hamiltonian is missing, or S is not positive definite.

    Examples
    --------
    >>> from nearsight.api.spectra import evaluate
    >>> result = evaluate("data/silicon_2.h5", "data/silicon_2.h5")
    >>> result.matrix.eps_tot, result.spectrum.mean_absolute
    (0.0, 0.0)
    """
    exact = calculation_of(reference, overlap)
    return _evaluation.evaluate(calculation_of(prediction), exact, eigenvalues, states, progress)


class _Problem(NamedTuple):
    """What an eigenvalue problem needs."""

    hamiltonian: BlockOperator
    overlap: BlockOperator
    n_electrons: int
    threshold: float

    @classmethod
    def of(
        cls, h: CalculationLike | BlockOperator, s: OverlapLike | None, n_electrons: int | None, threshold: float | None
    ) -> _Problem:
        """Look up what was not given."""
        calculation = None if isinstance(h, BlockOperator) else calculation_of(h, s)
        hamiltonian, overlap = _operators(h, s) if calculation is None else _operators(calculation, None)
        if n_electrons is None and calculation is None:
            n_electrons = hamiltonian.basis.n_electrons(hamiltonian.numbers)
        elif n_electrons is None and calculation is not None:
            n_electrons = calculation.n_electrons
        if threshold is None and calculation is not None:
            threshold = overlap_threshold(calculation)
        return cls(hamiltonian, overlap, n_electrons or 0, max(threshold or 0.0, OVERLAP_THRESHOLD))


def _operators(h: CalculationLike | BlockOperator, s: OverlapLike | None) -> tuple[BlockOperator, BlockOperator]:
    if not isinstance(h, BlockOperator):
        calculation = calculation_of(h, s)
        return calculation.require_hamiltonian(), calculation.require_overlap()
    if s is None:
        raise InputError(
            "expected an overlap matrix S with a bare operator H, got none; give it as the second argument"
        )
    return h, overlap_of(s)


def _levels_method(problem: _Problem, method: str, number: int | None) -> tuple[str, int | None]:
    n = problem.hamiltonian.n_orbitals
    chosen, count = recommended_method(n, method, number)
    if chosen == "kpm":
        raise InputError(
            f"expected a method that gives levels of {n:,} orbitals in the memory there is, got {method!r}; ask for "
            "fewer levels (number=20), or for the density of states alone (stochastic_density, --method kpm)"
        )
    return chosen, count


def _three(mesh: Sequence[int]) -> tuple[int, int, int]:
    if len(mesh) != 3:
        raise InputError(f"expected a mesh of three counts, such as (2, 2, 2), got {tuple(mesh)}")
    return (int(mesh[0]), int(mesh[1]), int(mesh[2]))
