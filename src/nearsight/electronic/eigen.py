"""Levels and states of H ψ = ε S ψ: one entry to the dense method and to that of a window, with an automatic choice.

    dense     all levels (LAPACK), 8 n² bytes a matrix, time ∝ n³
    window    some levels around the gap: shift-invert Lanczos with a sparse factorisation, counted by inertia

For what is larger still, `electronic.kernel_polynomial` gives the density of states.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from nearsight.electronic.conditioning import OVERLAP_THRESHOLD, ill_conditioned_directions
from nearsight.electronic.dense import check_electrons, check_residual, dense_spectrum, dense_states
from nearsight.electronic.matrices import Matrix, check_same_size, sparse_hermitian, sparse_hermitian_part
from nearsight.electronic.spectrum import Spectrum, States
from nearsight.electronic.window import solve_window
from nearsight.errors import InputError
from nearsight.memory import free_bytes
from nearsight.operators.blocks import BlockOperator
from nearsight.progress import Event, Progress, silent

Method = Literal["auto", "dense", "window"]
METHODS: tuple[Method, ...] = ("auto", "dense", "window")

WINDOW_FROM = 4000
"""Number of orbitals from which `auto` prefers a window where some levels are asked for; below, LAPACK takes seconds.
"""
MATRICES = 3
"""Number of dense matrices in memory at the worst moment."""


def solve(
    hamiltonian: Matrix,
    overlap: Matrix,
    n_electrons: int,
    *,
    method: Method = "auto",
    number: int | None = None,
    threshold: float = OVERLAP_THRESHOLD,
    progress: Progress = silent,
) -> Spectrum:
    """Compute eigenvalues of H ψ = ε S ψ and fill them with electrons.

    Parameters
    ----------
    hamiltonian : BlockOperator, sparse matrix or ndarray of shape (n, n)
        H in eV, Hermitian. The images of blocks are summed (Γ).
    overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        S, Hermitian and positive definite.
    n_electrons : int
        Number of electrons, 0 to 2n, two to a level.
    method : {"auto", "dense", "window"}
        How to solve, see above; `progress` is told what ``"auto"`` takes.
    number : int, optional
        Number of levels around the gap. By default all.
    threshold : float
        Directions in which eigenvalues of S are smaller are projected out, see `electronic.conditioning`.
    progress : callable, optional
        Told the method, and the steps of a window.

    Returns
    -------
    Spectrum
        Levels in eV, ascending, with their filling.

    Raises
    ------
    InputError
        If the sizes of H and S differ, numbers are not finite, a matrix is not Hermitian, S is not positive definite,
        there are more electrons than 2n, a solution fails the equation, the method is unknown, or the problem is too
        large for it.

    Notes
    -----
    The residual of HOMO and LUMO (of every level of a window) is measured: ‖H x − ε S x‖ in the norm of S⁻¹ over ‖x‖ in
    the norm of S bounds the distance of ε to an exact eigenvalue.

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.electronic.eigen import solve
    >>> levels = solve(np.diag([-1.0, 1.0]), np.eye(2), 2)
    >>> levels.gap, levels.fermi
    (2.0, 0.0)
    """
    chosen = choose_method(hamiltonian, method, number, progress)
    if chosen == "window":
        return _window(hamiltonian, overlap, n_electrons, number, threshold, progress).spectrum
    if number is None:
        return dense_spectrum(hamiltonian, overlap, n_electrons, threshold)
    return dense_states(hamiltonian, overlap, n_electrons, number, threshold).spectrum


def solve_states(
    hamiltonian: Matrix,
    overlap: Matrix,
    n_electrons: int,
    *,
    method: Method = "auto",
    number: int | None = None,
    threshold: float = OVERLAP_THRESHOLD,
    progress: Progress = silent,
) -> States:
    """Compute levels and wavefunctions of H ψ = ε S ψ.

    All states take several times as long as all levels.

    Parameters
    ----------
    hamiltonian, overlap, n_electrons, method, number, threshold, progress
        As for `solve`.

    Returns
    -------
    States
        Levels in eV with their coefficients.

    Raises
    ------
    InputError
        As `solve`.
    """
    if choose_method(hamiltonian, method, number, progress) == "window":
        return _window(hamiltonian, overlap, n_electrons, number, threshold, progress)
    return dense_states(hamiltonian, overlap, n_electrons, number, threshold)


def choose_method(
    hamiltonian: Matrix, method: Method = "auto", number: int | None = None, progress: Progress = silent
) -> Literal["dense", "window"]:
    """Choose between the dense method and a window.

    Parameters
    ----------
    hamiltonian, method, number
        As for `solve`.
    progress : callable, optional
        Told the choice.

    Returns
    -------
    {"dense", "window"}
        The method that is taken.

    Raises
    ------
    InputError
        If the method is unknown, a window is asked for without a number of levels, or dense matrices do not fit into
        memory.
    """
    known_method(method)
    if number is not None and number < 1:
        raise InputError(f"expected one level or more, got {number}")
    if method == "window" and number is None:
        raise InputError("expected a number of levels around the gap with method=window, got none (all levels: dense)")
    n = hamiltonian.n_orbitals if isinstance(hamiltonian, BlockOperator) else np.shape(hamiltonian)[0]
    if method == "window" or (method == "auto" and number is not None and n > WINDOW_FROM and number < n // 4):
        progress(Event(f"{number} of {n} levels: window (sparse factorisation, inertia counts)"))
        return "window"
    known_room(
        n,
        MATRICES,
        complex_=not isinstance(hamiltonian, BlockOperator) and np.iscomplexobj(hamiltonian),
        way_out="ask for some around the gap (number=50, --states 50) or for the density of states alone "
        "(--method kpm)",
    )
    progress(Event(f"{'all' if number is None else number} of {n} levels: dense (LAPACK)"))
    return "dense"


def known_room(
    n: int, matrices: int, *, complex_: bool = False, way_out: str = "predict without self-consistency"
) -> None:
    """Refuse dense matrices that do not fit into memory.

    Parameters
    ----------
    n : int
        Number of orbitals.
    matrices : int
        Number of dense matrices at the worst moment.
    complex_ : bool, optional
        Whether they are complex.
    way_out : str, optional
        What the message says to do instead.

    Raises
    ------
    InputError
        If they do not fit.
    """
    needed, there = matrices * (16 if complex_ else 8) * n**2, free_bytes()
    if needed > there:
        raise InputError(
            f"expected room for all {n:,} levels ({needed / 1e9:.1f} GB), got {there / 1e9:.1f} GB; {way_out}"
        )


def known_method(name: str) -> Method:
    """Return the name of a method if there is one.

    Raises
    ------
    InputError
        If there is no such method.
    """
    for method in METHODS:
        if name == method:
            return method
    raise InputError(f"expected the method {', '.join(METHODS)}, got {name!r}")


def _window(
    hamiltonian: Matrix, overlap: Matrix, n_electrons: int, number: int | None, threshold: float, progress: Progress
) -> States:
    assert number is not None
    h, deviation = sparse_hermitian_part(hamiltonian, "H")
    s = sparse_hermitian(overlap, "S")
    check_same_size(h, s)
    projected_out = ill_conditioned_directions(s, threshold, progress)
    n = h.shape[0] - projected_out.shape[1]
    check_electrons(n_electrons, n)
    levels, coefficients, first, residual = solve_window(
        h, s, filled=(n_electrons + 1) // 2, number=number, projected_out=projected_out, progress=progress
    )
    filled, odd = divmod(n_electrons, 2)
    spectrum = Spectrum(levels, filled, float("nan"), residual, bool(odd), deviation, first, n, projected_out.shape[1])
    check_residual(residual, spectrum)
    return States(spectrum, coefficients)
