"""The loop between a predicted Hamiltonian and its density: H[P] and P[H] until they agree.

Given the on-site blocks of the functional, H between atoms follows the change of the potential, which enters through S:
H_ij ⊃ S_ij (φ_i + φ_j)/2, with φ the mean diagonal element of an atom's block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.matrices import hermitian_dense
from nearsight.errors import NearsightError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import symmetric
from nearsight.progress import Event, Progress, silent
from nearsight.self_consistency.atomic_density import AtomicDensity, LoewdinBasis
from nearsight.self_consistency.functional import OnSiteFunctional
from nearsight.self_consistency.mixing import AndersonMixing
from nearsight.structures.graph import build_graph
from nearsight.units import HARTREE_IN_EV

TOLERANCE = 2e-5
"""e, r.m.s. change of the charges in a step at which they agree."""
ROUGH, LARGE = 1e-3, 1500
"""e, change of the charges above which single precision is enough, for matrices of this size and more."""
MOST = 40
"""Diagonalisations."""


class NotConvergedError(NearsightError):
    """Charges and Hamiltonian did not come to agree."""


@dataclass(frozen=True, eq=False)
class SelfConsistent:
    """A Hamiltonian that agrees with its own density.

    Attributes
    ----------
    hamiltonian : BlockOperator
        eV, of the pairs of the prediction; folded to Γ where S is.
    density : AtomicDensity
        Charges and own blocks.
    potential : (N,) array
        eV, how much the mean on-site element of each atom has changed from the prediction.
    diagonalisations : int
        How many it took.
    residual : float
        e, r.m.s. change of the charges in the last step.
    """

    hamiltonian: BlockOperator
    density: AtomicDensity
    potential: np.ndarray
    diagonalisations: int
    residual: float


def solve_self_consistent(
    prediction: BlockOperator,
    calculation: Calculation,
    functional: OnSiteFunctional,
    *,
    start: AtomicDensity | None = None,
    temperature: float | None = None,
    damping: float = 0.3,
    progress: Progress = silent,
) -> SelfConsistent:
    """Make a predicted Hamiltonian self-consistent.

    Parameters
    ----------
    prediction : BlockOperator
        H as a model without self-consistency predicts it, eV.
    calculation : Calculation
        The structure, its basis and its overlap.
    functional : OnSiteFunctional
        On-site blocks from environment and density.
    start : AtomicDensity, optional
        Where the iteration begins; by default the density of the prediction.
    temperature : float, optional
        K, of the filling.
    damping : float
        Of the mixing.
    progress : Progress
        Told every step.

    Raises
    ------
    NotConvergedError
        The charges do not come to rest; the prediction stands as it is.
    InputError
        As `LoewdinBasis`.
    """
    structure = calculation.structure
    overlap = calculation.require_overlap()
    flat = fold(prediction) if overlap.folded else prediction
    basis = LoewdinBasis(calculation, functional.layout, temperature)
    environment = functional.environment(structure, build_graph(structure, functional.descriptor.cutoff))
    change = _Change(basis, prediction, overlap)
    density = basis.density_of(change.predicted)[0] if start is None else start
    count, mixing, residual = int(start is None), AndersonMixing(damping), np.inf
    while count < MOST:
        changes = change.of(functional(structure, environment, density))
        single = residual > ROUGH and flat.n_orbitals >= LARGE
        found = basis.density_of(change.applied(changes), single=single)[0]
        count += 1
        residual = float(np.sqrt(((found.charges - density.charges) ** 2).mean()))
        progress(Event(f"self-consistency: step {count}, charges change by {residual:.1e} e"))
        if residual < TOLERANCE:
            shifts = change.shifts(changes)
            return SelfConsistent(_changed(flat, overlap, changes, shifts), density, shifts, count, residual)
        density = _mixed(mixing, density, found)
    raise NotConvergedError(
        f"expected charges that agree to {TOLERANCE:g} e within {MOST} diagonalisations, got a change of "
        f"{residual:.2g} e in the last; use a smaller damping, or a temperature for metals, or predict without "
        "self-consistency"
    )


class _Change:
    """What new on-site blocks make of the predicted matrix at Γ. Images of an atom's own are no part of them."""

    def __init__(self, basis: LoewdinBasis, prediction: BlockOperator, overlap: BlockOperator) -> None:
        self.basis, self.predicted = basis, hermitian_dense(prediction, "H")
        self.numbers = basis.structure.numbers
        self.offsets = basis.basis.offsets(self.numbers)
        self.atom = np.repeat(np.arange(len(self.numbers)), np.diff(self.offsets))
        self._atoms = {z: np.flatnonzero(self.numbers == z) for z in np.unique(self.numbers).tolist()}
        self._old = {z: prediction.blocks((z, z), atoms, atoms) for z, atoms in self._atoms.items()}
        self._between = hermitian_dense(overlap, "S") - np.eye(len(self.atom))

    def of(self, on_site: np.ndarray) -> dict[int, np.ndarray]:
        """Z → (n, n_Z, n_Z) eV, symmetric changes of the on-site blocks of an element's atoms."""
        return {
            z: symmetric(HARTREE_IN_EV * self.basis.layout.uncouple(on_site[atoms], z, z)) - self._old[z]
            for z, atoms in self._atoms.items()
        }

    def shifts(self, changes: dict[int, np.ndarray]) -> np.ndarray:
        """(N,) eV, changes of the mean on-site element of each atom."""
        result = np.empty(len(self.numbers))
        for z, atoms in self._atoms.items():
            result[atoms] = np.trace(changes[z], axis1=1, axis2=2) / changes[z].shape[1]
        return result

    def applied(self, changes: dict[int, np.ndarray]) -> np.ndarray:
        """(n, n) eV."""
        x = self.shifts(changes)[self.atom]
        h = self.predicted + self._between * (x[:, None] + x) / 2
        for z, atoms in self._atoms.items():
            rows = self.offsets[atoms][:, None] + np.arange(self.basis.basis.n_orbitals(z))
            h[rows[:, :, None], rows[:, None, :]] += changes[z]
        return np.asarray(h)


def _changed(
    h: BlockOperator, overlap: BlockOperator, changes: dict[int, np.ndarray], shifts: np.ndarray
) -> BlockOperator:
    """The operator with the change of the potential, which enters through S, and of its on-site blocks."""
    result = h.with_values(h.values.copy())
    place = np.empty(len(h.numbers), dtype=np.int64)
    for z in changes:
        atoms = np.flatnonzero(h.numbers == z)
        place[atoms] = np.arange(len(atoms))
    for (zi, zj), pairs in h.element_pairs.items():
        i, j, r = h.source[pairs], h.target[pairs], h.shift[pairs]
        s = overlap.blocks((zi, zj), i, j, r).astype(np.float64)
        own = np.flatnonzero(h.on_site[pairs])
        if zi == zj:
            s[own] -= np.eye(s.shape[1])
        blocks = h.stack(pairs) + s * ((shifts[i] + shifts[j]) / 2)[:, None, None]
        if len(own):
            blocks[own] += changes[zi][place[i[own]]]
        result.put(pairs, blocks)
    return result


def _mixed(mixing: AndersonMixing, density: AtomicDensity, found: AtomicDensity) -> AtomicDensity:
    n = len(density.charges)
    point = np.concatenate([density.charges, density.blocks.ravel()])
    residual = np.concatenate([found.charges, found.blocks.ravel()]) - point
    mixed = mixing.next(point, residual)
    return AtomicDensity(mixed[:n], mixed[n:].reshape(n, -1))
