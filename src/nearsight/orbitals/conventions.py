"""Conventions of other codes: in which order and with which signs they list the functions of a shell.

Every code has the same real functions up to the sign. The internal order runs over m = −l..l without Condon-Shortley
phase, as CP2K's does. ORCA lists m = 0, +1, −1, +2, …, and its functions with |m| = 3 and 4 have the opposite sign (as
IOData corrects them). PySCF's shells are in the internal order, except that p is x, y, z. FHI-aims has the opposite
sign for odd m > 0 (as in PhiSNet). ABACUS lists m = 0, +1, −1, +2, …, and SIESTA m = −l..l, both with the opposite sign
for odd m. Wannier90's projections run over m = 0, +1, −1, …, too. OpenMX, whose order is that of DeepH's first
layout, lists p as x, y, z, d as z², x²−y², xy, xz, yz, and higher shells as m = 0, +1, −1, +2, ….

That these are right, real files say: an overlap with an s function points along its bond in one order only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from nearsight.errors import InputError
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet


@dataclass(frozen=True)
class OrbitalConvention:
    """Order and signs inside the shells of a code.

    Attributes
    ----------
    name : str
        The code, for messages.
    order : mapping of int to tuple of int
        l → m (internal label, −l..l) of each of the code's functions, in its order.
    signs : mapping of int to tuple of int
        l → ±1 for each of the code's functions, in its order: theirs = sign · internal.

    Raises
    ------
    InputError
        If an m is missing or occurs twice, or a sign is not ±1.
    """

    name: str
    order: Mapping[int, tuple[int, ...]]
    signs: Mapping[int, tuple[int, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", MappingProxyType(dict(self.order)))
        object.__setattr__(self, "signs", MappingProxyType(dict(self.signs)))
        for l, order in self.order.items():
            signs = self.signs.get(l, ())
            if sorted(order) != list(range(-l, l + 1)) or len(signs) != len(order) or not set(signs) <= {1, -1}:
                raise InputError(
                    f"expected each m of l = {l} once, each with a sign ±1, in convention {self.name}, "
                    f"got {order} with signs {signs}"
                )

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[object, ...]:
        return OrbitalConvention, (self.name, dict(self.order), dict(self.signs))

    def shell(self, l: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the functions of a shell are in the code's order.

        Parameters
        ----------
        l : int
            Angular momentum of the shell.

        Returns
        -------
        where : (2l+1,) array of int64
            Position in the code's shell of each internal function m = −l..l.
        sign : (2l+1,) array of int64
            Its sign, ±1.

        Raises
        ------
        InputError
            If the convention does not know this l.
        """
        if l not in self.order:
            letter = SHELL_LETTERS[l] if l < len(SHELL_LETTERS) else f"l = {l}"
            raise InputError(
                f"expected shells up to {SHELL_LETTERS[max(self.order)]} in the orbital convention of "
                f"{self.name}, got {letter}"
            )
        where = np.argsort(np.asarray(self.order[l]))
        return where, np.asarray(self.signs[l], dtype=np.int64)[where]


def _up_and_down(l: int) -> tuple[int, ...]:
    """0, 1, −1, 2, −2, …"""
    return (0, *(m for k in range(1, l + 1) for m in (k, -k)))


_DEGREES = range(len(SHELL_LETTERS))
_POSITIVE = {l: (1,) * (2 * l + 1) for l in _DEGREES}

CP2K = OrbitalConvention("CP2K", {l: tuple(range(-l, l + 1)) for l in _DEGREES}, _POSITIVE)
"""The internal order."""

PYSCF = OrbitalConvention("PySCF", {**CP2K.order, 1: (1, -1, 0)}, _POSITIVE)
"""p is x, y, z; all other shells run over m = −l..l."""

ORCA = OrbitalConvention(
    "ORCA",
    {l: _up_and_down(l) for l in range(5)},
    {l: tuple(-1 if abs(m) >= 3 else 1 for m in _up_and_down(l)) for l in range(5)},
)
"""p is z, x, y; d is z², xz, yz, x²−y², xy. Up to g, as far as its signs are known."""

MOLDEN = OrbitalConvention("Molden", {**{l: _up_and_down(l) for l in range(5)}, 1: (1, -1, 0)}, _POSITIVE)
"""p is x, y, z; d, f and g are m = 0, 1, −1, 2, −2 …; [5D], [7F], [9G]. ORCA's files have other signs."""

AIMS = OrbitalConvention(
    "FHI-aims",
    {l: CP2K.order[l] for l in range(4)},
    {l: tuple(-1 if m > 0 and m % 2 else 1 for m in CP2K.order[l]) for l in range(4)},
)
"""m = −l..l, up to f."""

OPENMX = OrbitalConvention(
    "OpenMX", {l: _up_and_down(l) for l in _DEGREES} | {1: (1, -1, 0), 2: (0, 2, -2, 1, -1)}, _POSITIVE
)
"""p is x, y, z; d is z², x²−y², xy, xz, yz; f is m = 0, +1, −1, …. DeepH's first layout has it, too."""

ABACUS = OrbitalConvention(
    "ABACUS",
    {l: _up_and_down(l) for l in _DEGREES},
    {l: tuple(-1 if m % 2 else 1 for m in _up_and_down(l)) for l in _DEGREES},
)
"""p is z, −x, −y; d is z², −xz, −yz, x²−y², xy."""

WANNIER90 = OrbitalConvention("Wannier90", {l: _up_and_down(l) for l in range(4)}, {l: _POSITIVE[l] for l in range(4)})
"""p is z, x, y; d is z², xz, yz, x²−y², xy: the projections by their number mr, up to f."""

SIESTA = OrbitalConvention(
    "SIESTA", CP2K.order, {l: tuple(-1 if m % 2 else 1 for m in range(-l, l + 1)) for l in _DEGREES}
)
"""m = −l..l; p is −y, z, −x."""


def to_internal_order(
    convention: OrbitalConvention, basis: BasisSet, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how a matrix of a code becomes one in the internal order: `reordered(M, index, sign)`.

    Parameters
    ----------
    convention : OrbitalConvention
        The code's.
    basis : BasisSet
        Shells of each element in the code's order, which the internal one follows.
    numbers : (N,) array of int
        Atomic numbers in the order of the matrix.

    Returns
    -------
    index : (n,) array of int64
        Where each internal orbital is in the code's order.
    sign : (n,) array of float64
        ±1, in the internal order.

    Raises
    ------
    InputError
        If an element has no basis, or the convention does not know an l.
    """
    numbers = np.asarray(numbers, dtype=np.int64)
    offsets = basis.offsets(numbers)
    atoms = {int(z): _atom(convention, basis, int(z)) for z in np.unique(numbers)}
    index = [offsets[a] + atoms[int(z)][0] for a, z in enumerate(numbers)]
    return np.concatenate(index), np.concatenate([atoms[int(z)][1] for z in numbers])


def from_internal_order(
    convention: OrbitalConvention, basis: BasisSet, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how a matrix in the internal order becomes a code's: `reordered(M, index, sign)`.

    Parameters
    ----------
    convention, basis, numbers
        As in `to_internal_order`.

    Returns
    -------
    index : (n,) array of int64
        Where each of the code's orbitals is in the internal order.
    sign : (n,) array of float64
        ±1, in the code's order.
    """
    index, sign = to_internal_order(convention, basis, numbers)
    inverse = np.argsort(index)
    return inverse, sign[inverse]


def reordered(matrix: np.ndarray, index: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Bring a matrix from one convention into another: matrix[index][:, index] · sign · signᵀ.

    Parameters
    ----------
    matrix : (..., n, n) array
        One or more matrices.
    index : (n,) array of int
        From `to_internal_order` or `from_internal_order`.
    sign : (n,) array of float
        Likewise.

    Returns
    -------
    (..., n, n) array
        The matrix in the other order.
    """
    signs = sign.astype(matrix.dtype, copy=False)
    return np.asarray(matrix[..., index[:, None], index] * (signs[:, None] * signs))


def _atom(convention: OrbitalConvention, basis: BasisSet, number: int) -> tuple[np.ndarray, np.ndarray]:
    shells = [convention.shell(l) for l in basis.shells[number]]
    starts = basis.shell_offsets(number)
    index = np.concatenate([start + where for start, (where, _) in zip(starts, shells)])
    return index, np.concatenate([sign for _, sign in shells]).astype(np.float64)
