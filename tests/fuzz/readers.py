"""Every reader with a small good file of its kind, the ways to spoil it, and the audit of what is still accepted."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from nearsight.elements import HEAVIEST
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.formats.cp2k_wavefunction import closed_shell, read_wavefunction, write_wavefunction
from nearsight.formats.h0 import read_h0
from nearsight.formats.registry import read_any
from nearsight.formats.structure_files import read_structure
from nearsight.learning.config import load_config
from nearsight.nn.loading import load_model
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.operators.invariants import check_calculation_values, check_reverses
from nearsight.operators.store import write_calculation
from nearsight.operators.symmetry import hermitian_part
from nearsight.orbitals.basis import basis_named, def2_svp
from nearsight.recipes.campaign import load_campaign
from nearsight.structures.graph import build_graph, pair_order
from nearsight.structures.structure import Structure
from tests.formats.test_qh9 import DYNAMIC
from tests.formats.test_qh9 import write as write_qh9
from tests.fuzz import mutations
from tests.fuzz.mutations import Mutation

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes
    ----------
    name : str
        For seeds and messages.
    file : str
        The file in the folder of good files that is spoilt.
    mutations : tuple of Mutation
        How.
    read : callable
        Reads it, given its path.
    audit : callable
        Raises AssertionError where what was read cannot be right.
    weight : int
        Its share of the cases.
    """

    name: str
    file: str
    mutations: tuple[Mutation, ...]
    read: Callable[[Path], Any]
    audit: Callable[[Any], None]
    weight: int = 4


def small_calculation() -> Calculation:
    """HfO₂ in a small cell with H, S and all else that a store can hold."""
    positions = np.array([[0.0, 0, 0], [2.0, 0.3, 0.2], [0.4, 2.1, 0.3]])
    structure = Structure(np.array([72, 8, 8]), positions, np.diag([5.1, 5.2, 5.3]), np.ones(3, dtype=bool))
    basis = basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72])
    graph, atoms = build_graph(structure, 3.2), np.arange(3)
    source, target = np.concatenate([atoms, graph.source]), np.concatenate([atoms, graph.target])
    shift = np.concatenate([np.zeros((3, 3), dtype=np.int64), graph.shift])
    order = pair_order(source, target, shift)
    h = zeros(structure.numbers, basis, source[order], target[order], shift[order], folded=False)
    h.values[:] = np.random.default_rng(1).normal(size=h.n_values)
    h = hermitian_part(h)
    return Calculation(
        structure,
        basis,
        h,
        h.with_values(h.values * 0.1),
        4.0,
        -123.4,
        0.5,
        np.linspace(-9, 9, 7),
        {"code": "CP2K", "input": "x\n" * 3000},
        k_points=np.array([[0.0, 0, 0], [0.5, 0, 0]]),
        k_eigenvalues=np.linspace(-5, 5, 8).reshape(2, 4),
    )


def write_seeds(folder: Path) -> None:
    """Write a good file of every kind into a folder."""
    calculation = small_calculation()
    write_calculation(folder / "packed.h5", calculation)
    write_calculation(folder / "plain.h5", calculation, compression="none", precision="float32")
    write_calculation(folder / "former.h5", calculation)
    with h5py.File(folder / "former.h5", "r+") as file:
        file.attrs["version"] = 1
        for item in (file, file["hamiltonian"], file["overlap"]):
            del item.attrs["sha256"]
    _write_npz(folder / "calc.npz", calculation)
    _write_qh9(folder / "qh9.db")
    _write_schnorb(folder / "schnorb.db")
    run = DATA / "cp2k_mhfo2" / "binary_upper"
    shutil.copytree(run, folder / "binary")
    shutil.copytree(DATA / "cp2k_mhfo2" / "text_full", folder / "text")
    (folder / "a.xyz").write_text("3\n Cell: 5.1 5.2 5.3\nHf 0 0 0\nO 2 .3 .2\nO1 .4 2.1 .3\n")
    (folder / "a.extxyz").write_text(
        '3\nLattice="5.1 0 0 0 5.2 0 0 0 5.3" Properties=species:S:1:pos:R:3 pbc="T T T"\n'
        "Hf 0 0 0\nO 2 .3 .2\nO .4 2.1 .3\n"
    )
    (folder / "b.extxyz").write_text(
        '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=pos:R:3:species:S:1 pbc="T T F"\n0 0 0 Hf\n2 .3 .2 O\n'
    )
    shutil.copy(DATA / "BASIS_MOLOPT_excerpt", folder / "BASIS")
    for name in ("nearsight", "xia2025"):
        shutil.copy(DATA / "version_0_1_0" / name / "best.safetensors", folder / f"{name}.safetensors")
    (folder / "train.yaml").write_text(TRAIN)
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    n = 72
    np.save(folder / "h0.npy", np.eye(n))
    levels = np.linspace(-1, 1, 8)
    occupations = np.where(np.arange(8) < 4, 2.0, 0.0)
    write_wavefunction(
        folder / "a.wfn",
        closed_shell(calculation.basis, calculation.structure.numbers, levels, occupations, np.ones((18, 8))),
    )


TRAIN = """data:
  train: [a.h5, b.h5]
model: {architecture: xia2025, cutoff: 8.0, layers: 1, channels: 16}
optimizer:
  learning_rate: 1e-3
  kind: adamw
loss: {kind: mse}
seed: 1
"""
CAMPAIGN = """structures:
  - {name: water, molecules: {molecule: water, count: 2}}
dft: {code: pyscf, functional: pbe, basis: {O: sto-3g, H: sto-3g}, charge: 0}
precision: float64
processes: 1
"""


def _write_npz(path: Path, calculation: Calculation) -> None:
    upper = np.triu(to_csr(fold(calculation.require_hamiltonian())).toarray())
    rows, columns = np.nonzero(upper)
    keys: dict[str, Any] = {}
    for letter in "HS":
        keys |= {f"{letter}_row": rows.astype(np.int32), f"{letter}_col": columns.astype(np.int32)}
        keys[f"{letter}_val"] = upper[rows, columns]
    s = calculation.structure
    norb = calculation.basis.sizes(s.numbers)
    np.savez(
        path,
        numbers=s.numbers,
        positions_ang=s.positions,
        cell_ang=s.cell,
        norb=norb,
        mo_eig_ha=np.linspace(-1, 1, 5),
        energy_ha=np.array(-3.0),
        **keys,
    )


WATER = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


def _matrix() -> np.ndarray:
    n = int(def2_svp().offsets(np.array([8, 1, 1]))[-1])
    matrix = np.random.default_rng(0).normal(size=(n, n))
    return (matrix + matrix.T) / 2


def _write_qh9(path: Path) -> None:
    said = {
        "id": 3,
        "geo_id": 1,
        "N": 3,
        "Z": np.array([8, 1, 1], np.int32).tobytes(),
        "pos": (WATER / 0.529).tobytes(),
    }
    write_qh9(path, DYNAMIC, said | {"Ham": _matrix().tobytes(), "epot": -76.0, "converged": 1, "time": 0.0})


def _write_schnorb(path: Path) -> None:
    from ase import Atoms
    from ase.db import connect

    with connect(path, type="db", use_lock_file=False) as database:
        data = {"hamiltonian": _matrix(), "overlap": np.eye(len(_matrix())), "energy": np.array([-76.0])}
        database.write(Atoms([8, 1, 1], WATER), data=data)
        database.metadata = {"mean_energy": 0.0}


def audit_calculation(found: Any) -> None:
    """What holds for every calculation, asked again, and that it can be used."""
    assert isinstance(found, Calculation)
    check_calculation_values(found)
    check_reverses(found)
    audit_structure(found.structure)
    for name in ("hamiltonian", "overlap"):
        operator = getattr(found, name)
        if operator is not None:
            assert np.isfinite(operator.values).all()
            assert operator.n_orbitals < 10_000


def audit_structure(found: Any) -> None:
    """A structure that can be."""
    assert isinstance(found, Structure)
    assert np.isfinite(found.positions).all()
    assert np.isfinite(found.cell).all()
    assert np.abs(found.positions).max() < 1e6 + 1
    assert ((found.numbers >= 0) & (found.numbers <= HEAVIEST)).all()
    assert build_graph(found, 0.3).n_edges == 0


def audit_same(found: Any) -> None:
    """The content of a store with checksums is what was written, or the file is refused."""
    audit_calculation(found)
    expected = small_calculation()
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(found.structure, name), getattr(expected.structure, name))
    for name in ("cutoff", "energy", "fermi", "charge", "multiplicity"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("eigenvalues", "k_points", "k_eigenvalues"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.basis == expected.basis
    assert found.basis.name == expected.basis.name
    assert dict(found.basis.valence) == dict(expected.basis.valence)
    assert dict(found.provenance) == dict(expected.provenance)
    for name in ("hamiltonian", "overlap"):
        _assert_equal(getattr(found, name), getattr(expected, name))


def _assert_equal(found: BlockOperator | None, expected: BlockOperator) -> None:
    assert found is not None
    assert found.folded == expected.folded
    for name in ("source", "target", "shift"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-7, atol=1e-12)


def audit_model(model: Any) -> None:
    """All weights are finite."""
    assert all(bool(p.isfinite().all()) for p in model.network.parameters())
    assert 0 < model.config.cutoff <= 1e5


def audit_nothing(found: Any) -> None:
    """A configuration or a table was checked by its own classes."""
    assert found is not None


def _h0(path: Path) -> BlockOperator:
    given = small_calculation()
    numbers = np.array([72] * 4 + [8] * 8)
    positions = np.stack(np.meshgrid(*([np.arange(3) * 2.0] * 3)), axis=-1).reshape(-1, 3)[:12]
    structure = Structure(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    return read_h0(path, dataclasses.replace(Calculation(structure, given.basis)))


def _folder_of(path: Path) -> Calculation:
    return read_any(path.parent)


BYTES, TEXT = mutations.of_bytes, mutations.of_text

READERS = (
    Reader("store bits", "packed.h5", (mutations.one_bit,), read_any, audit_same, 12),
    Reader("store bytes", "packed.h5", (BYTES,), read_any, audit_calculation, 8),
    Reader("plain store bits", "plain.h5", (mutations.one_bit,), read_any, audit_same, 12),
    Reader("former store", "former.h5", (BYTES, mutations.one_bit), read_any, audit_calculation, 6),
    Reader("store objects", "former.h5", (mutations.of_hdf5,), read_any, audit_calculation, 10),
    Reader("store of a structure", "former.h5", (mutations.of_hdf5, BYTES), read_structure, audit_structure, 4),
    Reader("npz bytes", "calc.npz", (BYTES,), read_any, audit_calculation, 5),
    Reader("npz arrays", "calc.npz", (mutations.of_npz,), read_any, audit_calculation, 10),
    Reader("npz structure", "calc.npz", (mutations.of_npz, BYTES), read_structure, audit_structure, 5),
    Reader("h0", "h0.npy", (BYTES,), _h0, audit_nothing, 5),
    Reader("qh9", "qh9.db", (BYTES, mutations.of_sqlite, mutations.of_sqlite), read_any, audit_calculation, 8),
    Reader("schnorb", "schnorb.db", (BYTES, mutations.of_sqlite, mutations.of_sqlite), read_any, audit_calculation, 4),
    Reader("csr binary", "binary/hfo2-ks-KS_SPIN_1-1_0.csr", (BYTES,), _folder_of, audit_calculation, 2),
    Reader("csr text", "text/hfo2-ks-KS_SPIN_1-1_0.csr", (BYTES,), _folder_of, audit_calculation, 1),
    Reader("csr overlap", "binary/hfo2-s-S_SPIN_1-1_0.csr", (BYTES,), _folder_of, audit_calculation, 1),
    Reader("cp2k input", "binary/hfo2.inp", (TEXT, BYTES), _folder_of, audit_calculation, 3),
    Reader("cp2k output", "binary/hfo2.out", (TEXT, BYTES), _folder_of, audit_calculation, 3),
    Reader("cp2k coordinates", "binary/coord.inc", (TEXT, BYTES), _folder_of, audit_calculation, 2),
    Reader("input structure", "text/hfo2.inp", (TEXT, BYTES), read_structure, audit_structure, 8),
    Reader("xyz", "a.xyz", (TEXT, TEXT, BYTES), read_structure, audit_structure, 14),
    Reader("extxyz", "a.extxyz", (TEXT, TEXT, BYTES), read_structure, audit_structure, 14),
    Reader("extxyz of ASE", "b.extxyz", (TEXT, TEXT, BYTES), read_structure, audit_structure, 6),
    Reader("basis file", "BASIS", (TEXT, BYTES), lambda p: read_basis_file(p, "SZV-MOLOPT-SR-GTH"), audit_nothing, 8),
    Reader("wavefunction", "a.wfn", (BYTES,), read_wavefunction, audit_nothing, 8),
    Reader("model", "nearsight.safetensors", (mutations.of_model, BYTES), load_model, audit_model, 3),
    Reader("model of xia2025", "xia2025.safetensors", (mutations.of_model, BYTES), load_model, audit_model, 1),
    Reader("configuration", "train.yaml", (TEXT, TEXT, BYTES), load_config, audit_nothing, 8),
    Reader("campaign", "campaign.yaml", (TEXT, TEXT, BYTES), load_campaign, audit_nothing, 8),
)
