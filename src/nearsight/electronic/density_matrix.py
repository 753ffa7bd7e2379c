"""The density matrix of occupied states, and what follows from it.

    P = Σ_n f_n c_n c_n†,    electrons: Tr P S,    band energy: Tr P H = Σ_n f_n ε_n

With f of both spins (0 to 2). A window of states gives the density of these states alone.
"""

from __future__ import annotations

import numpy as np

from nearsight.electronic.filling import Filling
from nearsight.electronic.spectrum import Spectrum, States
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator


def density_matrix(states: States, filling: Filling) -> np.ndarray:
    """Compute the density matrix P = Σ_n f_n c_n c_n†, dense, with 8 n² bytes.

    Parameters
    ----------
    states : States
        At Γ or another k.
    filling : Filling
        Occupations of these states, 0 to 2.

    Returns
    -------
    ndarray of shape (n, n)
        P of both spins, at the k of the states.

    Raises
    ------
    InputError
        If there are other numbers of states and occupations.
    """
    c, f = _occupied(states, filling)
    return np.asarray((c * f) @ c.conj().T)


def density_operator(states: States, filling: Filling, pattern: BlockOperator) -> BlockOperator:
    """Compute P at the pairs of another operator, such as those of H.

    For Tr P H and Tr P S that is all of P that counts.

    Parameters
    ----------
    states : States
        Real, at Γ.
    filling : Filling
        Occupations of these states, 0 to 2.
    pattern : BlockOperator
        The pairs, folded to Γ; its values do not count.

    Returns
    -------
    BlockOperator
        P of both spins at these pairs.

    Raises
    ------
    InputError
        If the pattern is a real-space operator, or the states are complex.
    """
    if not pattern.folded:
        raise InputError("expected a pattern folded to Γ, as the states are, got one in real space (use bloch.fold)")
    if np.iscomplexobj(states.coefficients):
        raise InputError("expected real states at Γ, got complex ones")
    c, f = _occupied(states, filling)
    first = pattern.orbital_offsets
    result = pattern.with_values(np.zeros(pattern.n_values))
    start = np.flatnonzero(np.diff(pattern.source, prepend=-1))
    for begin, end in zip(start, np.append(start[1:], pattern.n_pairs)):
        i = pattern.source[begin]
        rows = (c[first[i] : first[i + 1]] * f) @ c.T
        blocks = [rows[:, first[j] : first[j + 1]].ravel() for j in pattern.target[begin:end]]
        result.values[pattern.offsets[begin] : pattern.offsets[end]] = np.concatenate(blocks)
    return result


def band_energy(spectrum: Spectrum, filling: Filling) -> float:
    """Compute the band energy Σ f ε of the levels that were computed.

    Parameters
    ----------
    spectrum : Spectrum
        Levels ε in eV, all or those of a window.
    filling : Filling
        Their occupations f.

    Returns
    -------
    float
        In eV.
    """
    return float(filling.occupations @ spectrum.eigenvalues)


def contraction(density: BlockOperator, operator: BlockOperator) -> float:
    """Compute Tr P A = Σ P_ij A_ij over the pairs that both operators hold.

    Parameters
    ----------
    density : BlockOperator
        P.
    operator : BlockOperator
        A, such as H or S, of the same atoms and basis.

    Returns
    -------
    float
        In the unit of A.
    """
    return float(density.values @ operator.on_pairs(density.source, density.target, density.shift).values)


def _occupied(states: States, filling: Filling) -> tuple[np.ndarray, np.ndarray]:
    if filling.occupations.shape != states.levels.shape:
        raise InputError(f"expected occupations of {len(states.levels)} states, got {filling.occupations.shape}")
    some = filling.occupations > 0
    return states.coefficients[:, some], filling.occupations[some]
