"""The loop between a Hamiltonian and its density: H[P] and P[H] until they agree.

What makes H of a density is a `DensityFunctional`; the loop knows no more of it than that. Densities are mixed by
Anderson's method, on the charges and own blocks of all atoms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from nearsight.electronic.eigenvectors import eigenvectors
from nearsight.errors import NearsightError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.progress import Event, Progress, silent
from nearsight.self_consistency.atomic_density import AtomicDensity, Diagonalise
from nearsight.self_consistency.density_features import KINDS
from nearsight.self_consistency.density_solver import DensitySolver, density_basis
from nearsight.self_consistency.mixing import AndersonMixing
from nearsight.self_consistency.response import Step

TOLERANCE = 2e-4
"""e, r.m.s. error that is left in the charges when the iteration ends: a twentieth of the error of predicted ones."""
POTENTIAL_OF_CHARGE = 10.0
"""eV/e, about what the charge of an atom adds to its potential: potentials may be off by as many times more, 2 meV.
They are looked at since charges that are all off by a little in one direction make a large potential."""
FAR = 2.0
"""Change of the charges, in units of the tolerance, with which no iteration is at its end, whatever is estimated."""
FASTEST, USUAL, SLOWEST = 0.25, 0.5, 0.75
"""What is taken for the ratio of a step to the one before when what is left is estimated: at least, with a response and
with mixing alone, and at most."""
ROUGH, LARGE = 1e-4, 1500
"""e, change of the charges above which single precision and levels followed from those of the step before are enough,
for matrices of this size and more."""
SHAPE_DAMPING = 0.9
"""Share of the residual that is taken of what is no charge: irreps of degree 1 and above hardly act on themselves."""
MOST = 40
"""Steps."""
STALLED, LESS_DAMPING = 10, 1 / 3
"""Steps in which the change of the charges did not halve: mixing then begins anew at the best density, once, with this
share of the damping; if they do not again, no further step would help."""
ASTRAY = 3.0
"""A density whose charges change by so many times more than those of the best one is forgotten: half a step is made."""
LEARNT_FROM = 3
"""First steps that a response is learnt from."""


class NotConvergedError(NearsightError):
    """Charges and Hamiltonian did not come to agree."""


@dataclass(frozen=True, eq=False)
class BlockErrors:
    """Errors to expect of the blocks of a Hamiltonian.

    Attributes
    ----------
    of_blocks : (P,) array
        r.m.s. errors (eV) of the elements of each block, in the order of the operator; NaN where unknown.
    mean_to_rms : tuple of float
        Ratios of mean absolute to r.m.s. errors, on site and between atoms, as found in training.
    """

    of_blocks: np.ndarray
    mean_to_rms: tuple[float, float]

    def means(self, h: BlockOperator) -> tuple[float, float]:
        """Return the expected mean absolute errors (eV) of elements, on site and between atoms."""
        own, sizes = h.on_site, h.lengths
        means = [np.average(self.of_blocks[k], weights=sizes[k]) if k.any() else 0.0 for k in (own, ~own)]
        return self.mean_to_rms[0] * float(means[0]), self.mean_to_rms[1] * float(means[1])


class HamiltonianOfDensity(Protocol):
    """H of one structure as a function of its density."""

    def start(self) -> AtomicDensity:
        """Return a density to begin with, from the surroundings of the atoms."""

    def __call__(self, density: AtomicDensity) -> BlockOperator:
        """Return H (eV) of a density, on the same pairs each time."""

    def expected_errors(self, density: AtomicDensity, h: BlockOperator) -> BlockErrors | None:
        """Return the errors to expect of H at self-consistency; None where they are not known."""


@runtime_checkable
class KnowsResponse(Protocol):
    """H of one structure of which is known how far a density is from the solution."""

    def step_towards(self, density: AtomicDensity, residual: np.ndarray) -> np.ndarray:
        """Return the step from a density to the solution, to first order, as `AtomicDensity.vector` orders it."""


class DensityFunctional(Protocol):
    """H as a functional of structure and density."""

    @property
    def layout(self) -> CoupledLayout:
        """Layout of the own blocks of a density."""

    @property
    def basis(self) -> BasisSet:
        """Whose radial functions, where they are known, give the dipoles of densities."""

    @property
    def residual(self) -> Mapping[int, float]:
        """Z → r.m.s. error (eV) of the on-site elements of atoms that were not fitted, at self-consistency."""

    def bound(self, calculation: Calculation) -> HamiltonianOfDensity:
        """Return H of one structure with its overlap; what does not depend on the density is computed once."""


@dataclass(frozen=True, eq=False)
class SelfConsistent:
    """A Hamiltonian that agrees with its own density.

    Attributes
    ----------
    hamiltonian : BlockOperator
        eV; folded to Γ where S is.
    density : AtomicDensity
        Charges and own blocks that it was made of.
    potential : (N,) array
        eV, mean on-site element of each atom minus the mean over all atoms of its element.
    steps : int
        How many it took.
    diagonalisations : int
        Of how many of them all levels were computed (or, by purification, the whole density matrix); in the others
        they were followed.
    residual : float
        e, r.m.s. change of the charges in the last step; H is that of the density mixed after it.
    error : float
        e, r.m.s. error of the charges to be expected of further steps that were not made.
    expected_errors : BlockErrors or None
        Of the hamiltonian's blocks; None where the functional does not know them.
    first_steps : sequence of (AtomicDensity, AtomicDensity)
        The first densities, and those of their H: what a response is learnt from.
    """

    hamiltonian: BlockOperator
    density: AtomicDensity
    potential: np.ndarray
    steps: int
    diagonalisations: int
    residual: float
    error: float
    expected_errors: BlockErrors | None = None
    first_steps: Sequence[Step] = ()


def solve_self_consistent(
    functional: DensityFunctional,
    calculation: Calculation,
    *,
    start: AtomicDensity | None = None,
    temperature: float | None = None,
    damping: float = 0.3,
    tolerance: float = TOLERANCE,
    solver: DensitySolver = "auto",
    diagonalise: Diagonalise = eigenvectors,
    progress: Progress = silent,
) -> SelfConsistent:
    """Find the Hamiltonian of a structure that agrees with its own density.

    Parameters
    ----------
    functional : DensityFunctional
        H of structure and density.
    calculation : Calculation
        The structure, its basis and its overlap.
    start : AtomicDensity, optional
        Where the iteration begins; by default what the functional proposes.
    temperature : float, optional
        K, of the filling.
    damping : float
        Share of the residual of charges and isotropic terms that is taken; of all others it is `SHAPE_DAMPING`.
    tolerance : float
        e, r.m.s. error that may be left in the charges; in the potentials it may be as many times larger as a charge's
        own potential is (`POTENTIAL_OF_CHARGE`).
    solver : {"auto", "dense", "purification"}
        How the density of H is found (`density_solver`).
    diagonalise : callable
        How a dense matrix is diagonalised.
    progress : Progress
        Told every step.

    Raises
    ------
    NotConvergedError
        The charges do not come to rest.
    InputError
        As `density_basis`.
    """
    overlap = calculation.require_overlap()
    folded, large = overlap.folded, overlap.n_orbitals >= LARGE
    with ThreadPoolExecutor(1) as beside:  # one is mostly LAPACK, the other mostly is not
        orbitals = beside.submit(
            density_basis,
            calculation,
            functional.layout,
            temperature,
            functional.basis,
            solver,
            diagonalise,
            large and tolerance >= ROUGH,
        )
        hamiltonian_of = functional.bound(calculation)
        density = hamiltonian_of.start() if start is None else start
        h = _folded(hamiltonian_of(density), folded)
        basis = orbitals.result()
    course, first = _Course(hamiltonian_of, functional.layout, density, damping), list[Step]()
    residual, diagonalisations = np.inf, 0
    for count in range(1, MOST + 1):
        rough = residual > ROUGH and large
        found = basis.followed(h) if rough else None
        if found is None:
            found, diagonalisations = basis.density_of(h, single=rough)[0], diagonalisations + 1
        residual = float(np.sqrt(((found.charges - density.charges) ** 2).mean()))
        progress(Event(f"self-consistency: step {count}, charges change by {residual:.1e} e"))
        if count <= LEARNT_FROM:
            first.append((density, found))
        following = course.next(density, found, residual)
        before, h = h, _folded(hamiltonian_of(following), folded)
        left = course.left(following.charges - density.charges, _levels(h) - _levels(before))
        density = following
        if residual < FAR * tolerance and left < tolerance:
            errors = hamiltonian_of.expected_errors(density, h)
            return SelfConsistent(h, density, _potential(h), count, diagonalisations, residual, left, errors, first)
        if course.stalled and course.restarted:
            break
        if course.stalled:
            density = course.restart()
            h = _folded(hamiltonian_of(density), folded)
    raise NotConvergedError(
        f"expected charges that agree to {tolerance:g} e within {MOST} steps, got a change of "
        f"{residual:.2g} e in the last of {count}; predict without self-consistency, or train "
        "longer or on more structures like this one"
    )


class _Course:
    """How an iteration goes: where it was best, whether it still comes nearer, and how much is left to do."""

    def __init__(
        self, hamiltonian_of: HamiltonianOfDensity, layout: CoupledLayout, start: AtomicDensity, damping: float
    ) -> None:
        self._response = hamiltonian_of if isinstance(hamiltonian_of, KnowsResponse) else None
        self._shares = _shares(layout, start, damping)
        self._mixing = AndersonMixing(self._shares)
        self._best = self._found = start
        self._smallest = self._halved = np.inf
        self._since, self._astray, self.restarted = 0, 0, False
        self._steps: list[np.ndarray] = []

    @property
    def stalled(self) -> bool:
        """Whether the change of the charges did not halve for many steps."""
        return self._since >= STALLED

    def next(self, density: AtomicDensity, found: AtomicDensity, residual: float) -> AtomicDensity:
        """Return the next density.

        The response is believed as long as every step comes nearer. A density that is far astray is forgotten.
        """
        if residual < self._halved / 2:
            self._halved, self._since = residual, 0
        else:
            self._since += 1
        if residual > ASTRAY * self._smallest:
            return self._half_a_step()
        if residual < self._smallest:
            self._best, self._found, self._smallest = density, found, residual
        else:
            self._response = None
        point, response = density.vector(), self._response
        step = None if response is None else (lambda r: response.step_towards(density, r))
        return density.with_vector(self._mixing.next(point, found.vector() - point, step))

    def _half_a_step(self) -> AtomicDensity:
        """A density not far from the best one, nearer each time."""
        self._astray, self._response = self._astray + 1, None
        point = self._best.vector()
        return self._best.with_vector(point + self._shares * (self._found.vector() - point) / 2**self._astray)

    def left(self, charges: np.ndarray, levels: np.ndarray) -> float:
        """Return what is left of the error of charges, e, if steps go on to shrink as the last one did.

        It is that of the charges or, if this is more, of the levels (eV) over `POTENTIAL_OF_CHARGE`.

        Parameters
        ----------
        charges, levels : (N,) array
            What a step changed.
        """
        step = np.array([np.sqrt((charges**2).mean()), np.sqrt((levels**2).mean()) / POTENTIAL_OF_CHARGE])
        self._steps = [*self._steps[-1:], step]
        if len(self._steps) == 1:
            return np.inf
        fastest = USUAL if self._response is None else FASTEST
        ratio = np.clip(step / np.maximum(self._steps[0], 1e-300), fastest, SLOWEST)
        return float((step * ratio / (1 - ratio)).max())

    def restart(self) -> AtomicDensity:
        """Return the best density, from which another iteration begins with less damping."""
        self.restarted, self._since, self._steps = True, 0, []
        self._shares = LESS_DAMPING * self._shares
        self._mixing = AndersonMixing(self._shares)
        return self._best


def _folded(h: BlockOperator, folded: bool) -> BlockOperator:
    return fold(h) if folded and not h.folded else h


def _levels(h: BlockOperator) -> np.ndarray:
    """(N,) eV, mean on-site element of each atom."""
    result = np.empty(len(h.numbers))
    for z in np.unique(h.numbers).tolist():
        atoms = np.flatnonzero(h.numbers == z)
        blocks = h.blocks((z, z), atoms, atoms)
        result[atoms] = np.trace(blocks, axis1=1, axis2=2) / blocks.shape[1]
    return result


def _potential(h: BlockOperator) -> np.ndarray:
    levels = _levels(h)
    for z in np.unique(h.numbers).tolist():
        levels[h.numbers == z] -= levels[h.numbers == z].mean()
    return levels


def _shares(layout: CoupledLayout, density: AtomicDensity, damping: float) -> np.ndarray:
    """Of each number that is mixed (`AtomicDensity.vector`)."""
    n, of_block = (
        len(density.charges),
        np.concatenate([np.full(2 * l + 1, SHAPE_DAMPING if l else damping) for l in layout.degrees]),
    )
    of_blocks = np.tile(of_block, KINDS * n)
    return np.concatenate([np.full(n, damping), of_blocks, np.full(density.dipoles.size, SHAPE_DAMPING)])
