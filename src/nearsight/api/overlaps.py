"""S always at hand: from a file, from the radial functions of a basis, or from those that PySCF has of its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nearsight.electronic.matrices import sparse_hermitian
from nearsight.electronic.window import lowest_of_overlap
from nearsight.errors import InputError
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.overlap_fit import fit_overlap
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.orbitals.basis import BasisSet
from nearsight.progress import Event, Progress, silent
from nearsight.recipes.overlap import with_pyscf_functions
from nearsight.structures.structure import Structure

AGREES = 1e-4
"""Largest difference of computed and given overlaps with which the functions count as those of the data. CP2K leaves
out 1e-6; printed functions have six digits."""


def with_known_functions(calculations: Sequence[Calculation], progress: Progress = silent) -> list[Calculation]:
    """Return calculations whose basis knows its radial functions, where they are known and give the data's own S.

    Functions that the files do not hold are PySCF's of the same name. They are believed where S computed from them is
    that of the smallest calculation with an S that has the element; where there is none, they are not looked up.

    Parameters
    ----------
    calculations : sequence of Calculation
        With H and S of one basis.
    progress : Progress
        Told what was found.

    Returns
    -------
    list of Calculation
        The same ones; of those whose functions do not fit, without functions.
    """
    known: dict[int, bool] = {}
    result = []
    for calculation in calculations:
        basis = calculation.basis
        if basis.lacking_functions and calculation.overlap is not None:
            basis = _looked_up(basis)
        result.append(replace(calculation, basis=basis))
    for calculation in sorted(result, key=lambda c: len(c.structure)):
        elements = calculation.structure.elements
        basis = calculation.basis
        if all(z in known for z in elements) or calculation.overlap is None:
            continue
        if any(z not in basis.functions for z in elements):
            continue
        difference = overlap_difference(calculation)
        known |= dict.fromkeys(elements, difference < AGREES)
        said = "S follows from it" if difference < AGREES else "it is not the basis of these data, and not used"
        progress(Event(f"functions of {basis.name}: S of the data within {difference:.1e}; {said}"))
    refused = {z for z, fits in known.items() if not fits}
    result = [_without(c, refused) if refused else c for c in result]
    return result if not any(c.basis.lacking_functions for c in result) else _with_fitted(result, progress)


def with_overlaps(calculations: Sequence[Calculation], progress: Progress = silent) -> list[Calculation]:
    """Return calculations with S: that of the radial functions, where a file has none and its basis knows them.

    Parameters
    ----------
    calculations : sequence of Calculation
        With H; what `with_known_functions` returns.
    progress : Progress
        Told of which S was computed.
    """
    result = []
    for calculation in calculations:
        basis = calculation.basis.restricted(calculation.structure.numbers)
        if calculation.overlap is None and not basis.lacking_functions:
            s = overlap_of(calculation.structure, basis)
            calculation = replace(calculation, overlap=fold(s) if calculation.require_hamiltonian().folded else s)
            progress(Event(f"S of {calculation.structure.formula}: of the radial functions of {basis.name}"))
        result.append(calculation)
    return result


def overlap_difference(calculation: Calculation) -> float:
    """Return the largest difference of a calculation's S and that of the functions of its basis.

    Raises
    ------
    InputError
        S or functions are missing.
    """
    theirs = calculation.require_overlap()
    ours = overlap_of(calculation.structure, calculation.basis)
    if theirs.folded:
        difference = to_csr(ours) - to_csr(theirs)
        return float(np.abs(difference.data).max(initial=0.0))
    missing = ours.select(theirs.find(ours.source, ours.target, ours.shift) < 0)
    same = ours.on_pairs(theirs.source, theirs.target, theirs.shift)
    return max(float(np.abs(part).max(initial=0.0)) for part in (same.values - theirs.values, missing.values))


def computed_overlap(structure: Structure, basis: BasisSet) -> tuple[BlockOperator, str]:
    """Compute S of a structure from what is known of a basis, and say from what.

    Parameters
    ----------
    structure : Structure
        The atoms.
    basis : BasisSet
        Their basis; what it does not hold of its functions is looked up in PySCF.

    Raises
    ------
    InputError
        The functions are not known anywhere.
    """
    basis = basis.restricted(structure.numbers)
    if not basis.lacking_functions:
        return overlap_of(structure, basis), "exact, of the radial functions of the basis"
    if basis.overlaps is not None:
        s = overlap_of(structure, basis)
        return s, f"fitted, of the training data's own S, elements within {checked_error(s, basis.overlaps.error):.1e}"
    return overlap_of(structure, with_pyscf_functions(basis)), f"exact, of PySCF's functions of {basis.name}"


TOO_ILL_CONDITIONED = 0.1
"""Norm of the expected error of a fitted S over the smallest eigenvalue of S, above which levels would be moved."""

DENSE_UP_TO = 3000
"""Orbitals up to which the smallest eigenvalue of S is computed by LAPACK."""


def checked_error(overlap: BlockOperator, error: float) -> float:
    """Return the expected largest error of a fitted S, where S is well-conditioned enough for it.

    Parameters
    ----------
    overlap : BlockOperator
        S in real space.
    error : float
        Of its elements. Their norm is taken as that of as many random numbers as a row has elements above `error`.

    Raises
    ------
    InputError
        The error may be a tenth of the smallest eigenvalue of S: H ψ = ε S ψ multiplies it.
    """
    s = sparse_hermitian(overlap, "S")
    rows = np.repeat(np.arange(s.shape[0]), np.diff(s.indptr))
    row = float(np.sqrt(np.bincount(rows[np.abs(s.data) > error]).max(initial=1)))
    few = s.shape[0] <= DENSE_UP_TO
    lowest = float(np.linalg.eigvalsh(s.toarray())[0]) if few else lowest_of_overlap(s) or 0.0
    if error * row > TOO_ILL_CONDITIONED * lowest:
        raise InputError(
            f"expected an S that is well-conditioned enough to be learnt from data (elements within {error:.1e}), got "
            f"a smallest eigenvalue of {lowest:.2g}; give a file that holds S, or import the training data with the "
            "basis file (--basis-file)"
        )
    return error


def _with_fitted(calculations: list[Calculation], progress: Progress) -> list[Calculation]:
    """The calculations with overlaps that were fitted to their S, where there is one."""
    if all(c.overlap is None for c in calculations):
        return calculations
    shells = {z: ls for c in calculations for z, ls in c.basis.shells.items()}
    fitted = fit_overlap(calculations, BasisSet(calculations[0].basis.name, shells, {}))
    progress(Event(f"overlaps learnt from S of the data: pairs left out are within {fitted.error:.1e}"))
    return [replace(c, basis=replace(c.basis, overlaps=fitted)) for c in calculations]


def unfolded_overlap(calculation: Calculation, basis: BasisSet) -> BlockOperator | None:
    """Return a calculation's S in real space, where it is folded to Γ and the functions of the basis are known.

    Parameters
    ----------
    calculation : Calculation
        With or without S.
    basis : BasisSet
        The same basis, with its functions where they are known.

    Returns
    -------
    BlockOperator or None
        S as it is where it need not or cannot be computed.
    """
    s, known = calculation.overlap, basis.restricted(calculation.structure.numbers)
    if s is None or not s.folded or known.lacking_functions:
        return s
    return overlap_of(calculation.structure, known)


def _looked_up(basis: BasisSet) -> BasisSet:
    try:
        return with_pyscf_functions(basis)
    except InputError:
        return basis


def _without(calculation: Calculation, refused: set[int]) -> Calculation:
    basis = calculation.basis
    functions = {z: own for z, own in basis.functions.items() if z not in refused}
    return replace(calculation, basis=replace(basis, functions=functions))
