"""The self-energy of a lead from its Bloch states: slower than decimation, and right where decimation loses digits.

In the lead ψ at layer m + 1 is λ times that at layer m, where

    (K₋₁ + λ K₀ + λ² K₁) u = 0,    K₀ = z S₀ − H₀,    K₁ = z S₁ − H₁,    K₋₁ = z S₁† − H₁†.

With z = E + iη, half of the 2n solutions decay towards + (|λ| < 1) and half towards −. What a lead at the right end
lets pass is in the former: ψ(m+1) = F ψ(m), so Σ_R = −K₁ F; at the left end the roles of K₁ and K₋₁ change.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from nearsight.errors import InputError
from nearsight.quantum_transport.lead import Lead, Side


def self_energy_from_modes(lead: Lead, side: Side, energy: float, eta: float) -> np.ndarray:
    """Compute Σ of a lead from the invariant subspace of its outgoing and decaying Bloch states.

    Parameters
    ----------
    lead : Lead
        The lead.
    side : {"left", "right"}
        At which end of the device it is.
    energy : float
        E in eV.
    eta : float
        η in eV, above 0: it makes outgoing states decay.

    Returns
    -------
    (n, n) array of complex
        Σ in eV.

    Raises
    ------
    InputError
        If not half of the solutions decay into the lead.

    Notes
    -----
    Generalised Schur form with ordered eigenvalues (LAPACK's `zggev` has no invariant subspaces where K₁ is singular,
    whose λ = 0 has no full set of eigenvectors). T. Ando, Phys. Rev. B 44, 8017 (1991), for the solutions; M. Wimmer,
    PhD thesis, Regensburg 2009, for the Schur form.
    """
    z = energy + 1j * eta
    inner = z * lead.s0 - lead.h0
    onwards = z * lead.s1 - lead.h1
    backwards = z * lead.s1.conj().T - lead.h1.conj().T
    if side == "left":
        onwards, backwards = backwards, onwards
    n = lead.n_orbitals
    one, zero = np.eye(n), np.zeros((n, n))
    a = np.block([[zero, one], [-backwards, -inner]])
    b = np.block([[one, zero], [zero, onwards]])
    *_, alpha, beta, _, vectors = scipy.linalg.ordqz(a, b, sort="iuc", output="complex", check_finite=False)
    decaying = int(np.sum(np.abs(alpha) < np.abs(beta)))
    if decaying != n:
        raise InputError(
            f"expected {n} solutions that decay into the {side} lead at {energy:.6g} eV, got {decaying}: the energy is "
            f"at a band edge; raise eta (now {eta:g} eV)"
        )
    basis, following = vectors[:n, :n], vectors[n:, :n]
    result: np.ndarray = -onwards @ scipy.linalg.solve(basis.T, following.T, check_finite=False).T
    return result
