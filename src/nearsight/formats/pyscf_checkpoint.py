"""Checkpoints of PySCF's mean fields (`mf.chkfile`): HDF5 with the molecule or cell as JSON and its orbitals.

H and S are not in them, yet follow from all orbitals C and their energies ε: S = C⁻ᵀC⁻¹ and H = C⁻ᵀ ε C⁻¹. PySCF
evaluates texts of the JSON (`atom`, `basis`) as Python when it loads one; here only its tables of numbers are looked
at (`_atm`, `_bas`, `_env`, `_atom`, `a`). Of a crystal H(k) and S(k) follow at the points of a mesh through Γ, and H(R)
by Fourier's transform (`operators.born_von_karman`), where S of the basis' functions shows that the mesh resolves it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nearsight.elements import number_of, symbol_of
from nearsight.errors import FormatError
from nearsight.formats.all_orbitals import farthest, inverse_of, matrices_of
from nearsight.formats.hdf5_files import opened
from nearsight.formats.options import ReadOptions
from nearsight.formats.structure_files import check_distances
from nearsight.operators.bloch import fold
from nearsight.operators.born_von_karman import mesh_points, to_real_space
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_content import array, text
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.orbitals.conventions import PYSCF, to_internal_order
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

_EXPECTED = "a checkpoint of PySCF (mol, scf)"
_MOST_FUNCTIONS = 20_000
_SAME_POINT = 1e-7
"""In reciprocal lattice vectors: k-points that differ by less are one."""
_REVERSIBLE = 0.01
"""Largest |M(−k) − M(k)*| (eV, 1) of PySCF's integrals."""
_RESOLVED = 0.01
"""Largest difference between S(R) of a mesh of k-points and that of the functions."""


def recognises(path: Path) -> bool:
    """Tell whether a path is named as PySCF's checkpoints are by custom, `.chk` or `.chkfile`."""
    return path.is_file() and path.suffix in (".chk", ".chkfile")


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one checkpoint.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    options : ReadOptions
        Not needed.

    Returns
    -------
    Calculation
        H, S, the total energy, the levels and the charge.

    Raises
    ------
    FormatError
        If it is damaged, has spinors or Cartesian functions, or orbitals were left out; or of a crystal the k-points
        are no full mesh through Γ, or too few.
    """
    with opened(path, _EXPECTED) as file:
        if "mol" not in file or "scf" not in file:
            raise FormatError(path, f"expected {_EXPECTED}, got {', '.join(file) or 'nothing'}")
        said = _molecule(path, text(file, "mol"))
        if "kpts" in file["scf"] or "kpt" in file["scf"] or "a" in said:
            return _crystal(path, file["scf"], said)
        structure, basis = _atoms(path, said)
        n = int(basis.offsets(structure.numbers)[-1])
        spins = _spins(path, file["scf"])
        levels = array(file["scf"], "mo_energy", "float", (*spins, None))
        if levels.shape[-1] != n:
            raise FormatError(
                path,
                f"expected {n} orbitals, as many as functions, got {levels.shape[-1]}; were dependent ones left out?",
            )
        occupations = array(file["scf"], "mo_occ", "float", (*spins, n))
        orbitals = array(file["scf"], "mo_coeff", "float", (*spins, n, n))
        energy = float(array(file["scf"], "e_tot", "float", ())) * HARTREE_IN_EV if "e_tot" in file["scf"] else None
    of_spins, s = matrices_of(path, orbitals.reshape(-1, n, n), levels.reshape(-1, n), structure, basis, PYSCF)
    valence = sum(basis.valence[z] for z in structure.numbers.tolist())
    return Calculation(
        structure,
        basis,
        None if spins else of_spins[0],
        s,
        energy=energy,
        eigenvalues=None if spins else np.sort(levels) * HARTREE_IN_EV,
        charge=float(valence - round(float(occupations.sum()))),
        provenance={"format": "PySCF checkpoint", "source": path.name, "basis": basis.name},
        multiplicity=round(abs(float(occupations[0].sum() - occupations[1].sum()))) + 1 if spins else None,
        hamiltonian_up=of_spins[0] if spins else None,
        hamiltonian_down=of_spins[1] if spins else None,
    )


def _spins(path: Path, group: h5py.Group) -> tuple[int, ...]:
    """Leading axes of the orbitals: none, or two spins. Those of open shells restricted are of neither spin's H."""
    shape = group["mo_energy"].shape if "mo_energy" in group else None
    if shape is None or len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 2):
        raise FormatError(path, "expected orbitals without spin or of two spins (UKS), got others (GKS)")
    if len(shape) == 1:
        _check_paired(path, group)
    return () if len(shape) == 1 else (2,)


def _check_paired(path: Path, group: h5py.Group) -> None:
    """Refuse open shells with one set of orbitals."""
    dataset = group.get("mo_occ")
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim > 2:
        return
    occupations = array(group, "mo_occ", "float", (None,) * dataset.ndim)
    if (np.abs(occupations - 1) < 1e-6).any():
        raise FormatError(
            path,
            "expected closed shells or both spins (UKS), got singly occupied orbitals (ROKS), whose levels are of "
            "no H of one spin",
        )


def _crystal(path: Path, scf: h5py.Group, said: dict[str, Any]) -> Calculation:
    molecule, basis = _atoms(path, said)
    structure = _periodic(path, said, molecule)
    n = int(basis.offsets(structure.numbers)[-1])
    if "mo_coeff" not in scf or "mo_energy" not in scf:
        raise FormatError(path, "expected as many orbitals as functions at every k-point, got others")
    several = "kpts" in scf
    points = array(scf, "kpts", "float", (None, 3)) if several else np.zeros((1, 3))
    if "kpt" in scf and array(scf, "kpt", "float", (3,)).any():
        raise FormatError(path, "expected Γ or all k-points of a mesh through it, got one other k-point")
    spins = (2,) if len(scf["mo_energy"].shape) == (3 if several else 2) else ()
    if not spins:
        _check_paired(path, scf)
    shape = (*spins, len(points)) if several else spins
    levels = array(scf, "mo_energy", "float", (*shape, n)).reshape(-1, len(points), n)
    occupations = array(scf, "mo_occ", "float", (*shape, n))
    orbitals = _complex(path, scf, (*shape, n, n)).reshape(-1, len(points), n, n)
    mesh, order = _mesh(path, points, structure)
    index, sign = to_internal_order(PYSCF, basis, structure.numbers)
    turn = sign[:, None] * sign
    overlaps, hamiltonians = [], []
    for c, e in zip(orbitals[:, order], levels[:, order]):
        inverse = np.array([inverse_of(path, own) for own in c])
        adjoint = inverse.conj().transpose(0, 2, 1)
        s_k, h_k = adjoint @ inverse, (adjoint * e[:, None, :]) @ inverse * HARTREE_IN_EV
        s, h = (
            to_real_space(_reversible(path, x, mesh)[:, index][:, :, index] * turn, mesh, structure, basis)
            for x in (s_k, h_k)
        )
        overlaps.append(fold(s) if mesh == (1, 1, 1) else s)
        hamiltonians.append(fold(h) if mesh == (1, 1, 1) else h)
    exact = overlap_of(structure, basis)
    unresolved = farthest(overlaps[0], fold(exact) if mesh == (1, 1, 1) else exact)
    if unresolved > _RESOLVED:
        raise FormatError(
            path,
            f"expected a mesh of k-points that resolves S(R) of this basis to {_RESOLVED:g}, got {mesh} with which it "
            f"is {unresolved:.2g} off; compute with more k-points",
        )
    electrons = float(occupations.sum()) / len(points)
    valence = sum(basis.valence[z] for z in structure.numbers.tolist())
    k_levels = np.sort(levels * HARTREE_IN_EV, axis=-1)
    return Calculation(
        structure,
        basis,
        None if spins else hamiltonians[0],
        overlaps[0],
        energy=float(array(scf, "e_tot", "float", ())) * HARTREE_IN_EV if "e_tot" in scf else None,
        k_points=points @ structure.cell.T / BOHR_IN_ANGSTROM / (2 * np.pi),
        k_eigenvalues=k_levels if spins else k_levels[0],
        charge=float(valence - round(electrons)),
        provenance={
            "format": "PySCF checkpoint",
            "source": path.name,
            "basis": basis.name,
            "k-points": " × ".join(map(str, mesh)) + f", which resolve S to {unresolved:.1e}",
        },
        hamiltonian_up=hamiltonians[0] if spins else None,
        hamiltonian_down=hamiltonians[-1] if spins else None,
    )


def _periodic(path: Path, said: dict[str, Any], molecule: Structure) -> Structure:
    """The cell, in the unit that is said."""
    unit = said.get("unit")
    factor = BOHR_IN_ANGSTROM if isinstance(unit, str) and unit.lower().startswith(("b", "au")) else 1.0
    if said.get("dimension") not in (None, 3) or not (unit is None or isinstance(unit, str)):
        raise FormatError(path, "expected a cell with three periodic directions in Å or Bohr, got another one")
    return Structure(molecule.numbers, molecule.positions, _table(path, said, "a", 3) * factor, np.ones(3, dtype=bool))


def _complex(path: Path, group: h5py.Group, shape: tuple[int, ...]) -> np.ndarray:
    """Orbitals at k-points, which are complex, or real at Γ alone."""
    dataset = group["mo_coeff"]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != shape or dataset.dtype.kind not in "fc":
        raise FormatError(path, f"expected orbitals of shape {shape}, got others; were dependent ones left out?")
    found = np.asarray(dataset[()], dtype=np.complex128)
    if not np.isfinite(found).all():
        raise FormatError(path, "expected orbitals that are finite, got NaN or infinite ones")
    return found


def _mesh(path: Path, points: np.ndarray, structure: Structure) -> tuple[tuple[int, int, int], np.ndarray]:
    """The mesh through Γ that the k-points (1/Bohr) are, and where each of its points is among them."""
    reciprocal = points @ structure.cell.T / BOHR_IN_ANGSTROM / (2 * np.pi)
    inside = reciprocal - np.floor(reciprocal + _SAME_POINT)
    counts = [len(np.unique(np.round(inside[:, axis] / _SAME_POINT / 4))) for axis in range(3)]
    mesh = (counts[0], counts[1], counts[2])
    wanted = mesh_points(mesh) if np.prod(counts) == len(points) else np.zeros((0, 3))
    apart = np.abs(inside[None] - wanted[:, None]).max(axis=2) if len(wanted) else np.ones((1, 1))
    order = apart.argmin(axis=1)
    if apart.min(axis=1).max() > 4 * _SAME_POINT or len(set(order.tolist())) != len(points):
        raise FormatError(
            path,
            "expected all k-points of a mesh through Γ (cell.make_kpts without symmetry and shifts), got "
            f"{len(points)} others, of which H(R) does not follow",
        )
    return mesh, order


def _reversible(path: Path, matrices: np.ndarray, mesh: tuple[int, int, int]) -> np.ndarray:
    """The part with M(−k) = M(k)*, which the integrals on PySCF's grid obey to some digits."""
    minus = np.ravel_multi_index(tuple((-np.indices(mesh).reshape(3, -1)) % np.array(mesh)[:, None]), mesh)
    turned = matrices[minus].conj()
    error = float(np.abs(matrices - turned).max())
    if error > _REVERSIBLE:
        raise FormatError(path, f"expected H(−k) = H(k)*, got a difference of {error:.2g}; is there a complex field?")
    return np.asarray((matrices + turned) / 2)


def _molecule(path: Path, words: str) -> dict[str, Any]:
    try:
        said = json.loads(words)
    except ValueError as error:
        raise FormatError(path, f"expected the molecule as JSON, got another text ({error})") from error
    if not isinstance(said, dict):
        raise FormatError(path, "expected the molecule as JSON, got another text")
    if said.get("cart"):
        raise FormatError(path, "expected spherical functions, got Cartesian ones (cart=True)")
    return said


def _table(path: Path, said: dict[str, Any], key: str, width: int | None) -> np.ndarray:
    try:
        found = np.array(said[key], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(path, f"expected the molecule's table {key}, got none or another one") from error
    good = found.ndim == (1 if width is None else 2) and (width is None or found.shape[1] == width)
    if not good or not np.isfinite(found).all() or not found.size:
        raise FormatError(path, f"expected the molecule's table {key}, got one of shape {found.shape}")
    return found


def _whole(path: Path, said: dict[str, Any], key: str, width: int, size: int) -> np.ndarray:
    """A table of positions in `_env` and other small whole numbers."""
    found = _table(path, said, key, width)
    if (found != np.round(found)).any() or found.min() < 0 or found.max() > max(size, 1000):
        raise FormatError(path, f"expected whole numbers up to {size} in the molecule's table {key}, got others")
    return found.astype(np.int64)


def _atoms(path: Path, said: dict[str, Any]) -> tuple[Structure, BasisSet]:
    env = _table(path, said, "_env", None)
    atoms, shells = _whole(path, said, "_atm", 6, len(env)), _whole(path, said, "_bas", 8, len(env))
    labels = [row[0] for row in said["_atom"]] if _is_list_of_rows(said.get("_atom")) else []
    numbers = [number_of(found[1]) if (found := re.match(r"([A-Z][a-z]?)\d*$", str(x))) else None for x in labels]
    if len(numbers) != len(atoms) or not all(numbers):
        raise FormatError(path, f"expected chemical symbols of {len(atoms)} atoms, got {labels!r:.80}; no ghosts")
    if (atoms[:, 1] + 3 > len(env)).any() or (np.diff(shells[:, 0]) < 0).any() or shells[:, 0].max() >= len(atoms):
        raise FormatError(path, "expected shells of the atoms one after another, got others")
    positions = env[atoms[:, 1][:, None] + np.arange(3)] * BOHR_IN_ANGSTROM
    z = np.array(numbers, dtype=np.int64)
    structure = Structure(z, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    check_distances(structure)
    functions: dict[int, tuple[GaussianShell, ...]] = {}
    for atom, number in enumerate(z.tolist()):
        own = tuple(shell for row in shells[shells[:, 0] == atom].tolist() for shell in _contracted(path, env, row))
        known = functions.setdefault(number, own)
        if not own or not _same_functions(known, own):
            raise FormatError(path, f"expected one basis for each element, got two for {symbol_of(number)}")
    momenta = {number: tuple(shell.l for shell in own) for number, own in functions.items()}
    charges = {number: int(atoms[z == number][0, 0]) for number in functions}
    for atom, number in enumerate(z.tolist()):
        charge = int(atoms[atom, 0])
        if charge != charges[number] or not 1 <= charge <= number:
            raise FormatError(
                path,
                f"expected one number of valence electrons, from 1 to {number}, for each {symbol_of(number)}, got "
                f"{charge} for atom {atom} and {charges[number]} for another; no potentials on some atoms, no ghosts",
            )
    basis = BasisSet("of PySCF's files", momenta, charges, functions)
    if int(basis.offsets(z)[-1]) > _MOST_FUNCTIONS:
        raise FormatError(path, f"expected at most {_MOST_FUNCTIONS} functions, got more")
    return structure, basis


def _same_functions(one: tuple[GaussianShell, ...], other: tuple[GaussianShell, ...]) -> bool:
    return len(one) == len(other) and all(
        a.l == b.l
        and np.array_equal(a.exponents, b.exponents)
        and np.allclose(a.coefficients, b.coefficients, rtol=1e-9, atol=0)
        for a, b in zip(one, other)
    )


def _is_list_of_rows(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, list) and row for row in rows)


def _contracted(path: Path, env: np.ndarray, row: list[int]) -> list[GaussianShell]:
    """Shells of one row of `_bas`: atom, l, primitives, contractions, kappa, exponents, coefficients."""
    _, l, primitives, contractions, _, first, coefficients, _ = row
    counts = 0 < primitives <= len(env) and 0 < contractions <= len(env)
    fits = first + primitives <= len(env) and coefficients + primitives * contractions <= len(env)
    if not counts or l >= len(SHELL_LETTERS) or not fits:
        raise FormatError(path, f"expected shells up to {SHELL_LETTERS[-1]} with their numbers in _env, got {row}")
    table = env[coefficients : coefficients + primitives * contractions].reshape(contractions, primitives)
    return [GaussianShell.of_primitives(l, env[first : first + primitives], own) for own in table]
