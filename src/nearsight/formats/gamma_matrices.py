"""H and S at Γ from two .csr files, for a known structure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nearsight.errors import FormatError
from nearsight.formats.basis_choice import choose_basis
from nearsight.formats.cp2k_csr import Encoding, read_csr
from nearsight.formats.options import ReadOptions
from nearsight.formats.triplets import Triangle, Triplets, assemble, check_complete
from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV


@dataclass(frozen=True, eq=False)
class GammaMatrices:
    """H (eV) and S with their basis, and what the files were.

    Attributes:
        basis: given, or recognised by the size of H.
        hamiltonian, overlap: folded; the overlap None where there is no file.
        encodings, triangles: of H, then of S.
        n_entries: lines or records of H.
    """

    basis: BasisSet
    hamiltonian: BlockOperator
    overlap: BlockOperator | None
    encodings: tuple[Encoding, ...]
    triangles: tuple[Triangle, ...]
    n_entries: int

    @property
    def provenance(self) -> dict[str, str]:
        """What was found in the files, in words."""
        parts = [f"{t} matrix" if t in ("full", "diagonal") else f"{t} triangle" for t in self.triangles]
        return {
            "encoding": ", ".join(dict.fromkeys(self.encodings)),
            "entries": ", ".join(dict.fromkeys(parts)),
        }


def read_gamma_matrices(
    h_path: Path,
    s_path: Path | None,
    structure: Structure,
    options: ReadOptions,
    basis: BasisSet | None = None,
) -> GammaMatrices:
    """Both matrices.

    Args:
        h_path, s_path: the files (Hartree).
        structure: in the order of the matrix.
        options: the user's choice of basis.
        basis: the source's own choice, where it says so.

    Raises:
        FormatError: a file is damaged, or does not fit the structure, the basis or the other one.
    """
    entries, encoding = read_csr(h_path, options.progress)
    size, n_entries = entries.size, len(entries)
    if basis is None:
        basis = choose_basis(h_path, structure, options, n_orbitals=size)
    n_orbitals = int(basis.offsets(structure.numbers)[-1])
    # A diagonal element of H may by chance be below CP2K's threshold; one of S cannot.
    hamiltonian, triangle = _matrix(entries, structure, basis, n_orbitals // 1000 + 1)
    hamiltonian.values[:] *= HARTREE_IN_EV
    del entries
    if s_path is None:
        return GammaMatrices(basis, hamiltonian, None, (encoding,), (triangle,), n_entries)
    entries, s_encoding = read_csr(s_path, options.progress)
    if entries.size != size:
        raise FormatError(
            s_path,
            f"expected H and S of the same size, got H with {size} orbitals in {h_path.name} "
            f"and S with {entries.size}; are they from the same run?",
        )
    overlap, s_triangle = _matrix(entries, structure, basis, 0)
    return GammaMatrices(
        basis, hamiltonian, overlap, (encoding, s_encoding), (triangle, s_triangle), n_entries
    )


def _matrix(
    entries: Triplets, structure: Structure, basis: BasisSet, missing_allowed: int
) -> tuple[BlockOperator, Triangle]:
    operator, triangle = assemble(entries, structure.numbers, basis)
    check_complete(entries, operator.n_orbitals, missing_allowed)
    return operator, triangle
