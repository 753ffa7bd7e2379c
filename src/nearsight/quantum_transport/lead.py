"""Lead: a conductor that goes on for ever, as the matrices of one principal layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nearsight.electronic.matrices import hermitian_dense
from nearsight.errors import InputError

Side = Literal["left", "right"]
"""Which end of a device a lead is at: `left` goes on towards −, `right` towards + along the direction of transport."""


@dataclass(frozen=True, eq=False)
class Lead:
    """A periodic half-infinite conductor at one k⊥: H and S within a principal layer, and from it to the next one.

    A principal layer is so thick that it couples to the layers beside it alone. Layers are numbered along the direction
    of transport, for leads at either end.

    Attributes
    ----------
    h0, s0 : (n, n) array
        ⟨m|H|m⟩ (eV) and ⟨m|S|m⟩ of the functions of a layer m, Hermitian; real or complex.
    h1, s1 : (n, n) array
        ⟨m|H|m+1⟩ and ⟨m|S|m+1⟩, from a layer to the next one in the direction of transport.

    Raises
    ------
    InputError
        If shapes differ, a number is not finite, or h0 or s0 is not Hermitian.
    """

    h0: np.ndarray
    h1: np.ndarray
    s0: np.ndarray
    s1: np.ndarray

    def __post_init__(self) -> None:
        shapes = {np.shape(m) for m in (self.h0, self.h1, self.s0, self.s1)}
        if len(shapes) != 1:
            raise InputError(f"expected four matrices of one size for a lead, got {sorted(shapes)}")
        object.__setattr__(self, "h0", hermitian_dense(np.asarray(self.h0), "H of a lead's layer"))
        object.__setattr__(self, "s0", hermitian_dense(np.asarray(self.s0), "S of a lead's layer"))
        for name in ("h1", "s1"):
            matrix = np.array(getattr(self, name))
            if not np.isfinite(matrix).all():
                raise InputError(f"expected finite numbers in {name} of a lead, got some that are not")
            object.__setattr__(self, name, matrix)

    @property
    def n_orbitals(self) -> int:
        """Number of functions in a principal layer."""
        return len(self.h0)

    @property
    def scale(self) -> float:
        """Size of the coupling between layers, eV: the norm of h1."""
        return float(np.linalg.norm(self.h1))

    def shifted(self, energy: float) -> Lead:
        """Return the lead with all its states higher by an energy, eV: H + energy · S."""
        return replace(self, h0=self.h0 + energy * self.s0, h1=self.h1 + energy * self.s1)

    def bloch(self, phase: float) -> tuple[np.ndarray, np.ndarray]:
        """Return H and S of the infinite lead at a phase φ between layers, H(φ) = H₀ + H₁ e^{iφ} + H₁† e^{−iφ}.

        Parameters
        ----------
        phase : float
            In units of 2π.
        """
        factor = np.exp(2j * np.pi * phase)
        h, s = self.h1 * factor, self.s1 * factor
        return self.h0 + h + h.conj().T, self.s0 + s + s.conj().T


def doubled(lead: Lead) -> Lead:
    """Return the same lead in layers of twice the thickness.

    Parameters
    ----------
    lead : Lead
        Any lead.
    """
    zero = np.zeros_like(lead.h1)

    def within(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.block([[a, b], [b.conj().T, a]])

    def onwards(b: np.ndarray) -> np.ndarray:
        return np.block([[zero, zero], [b, zero]])

    return Lead(within(lead.h0, lead.h1), onwards(lead.h1), within(lead.s0, lead.s1), onwards(lead.s1))
