"""Small good files of every kind, to be spoilt."""

from __future__ import annotations

import functools
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from nearsight.api.exports import export
from nearsight.formats.cp2k_wavefunction import closed_shell, write_wavefunction
from nearsight.learning.checkpoint import write_tensors
from nearsight.nn.model_file import FORMAT, read_tensors
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.blocks import zeros
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import write_calculation
from nearsight.operators.symmetry import hermitian_part
from nearsight.orbitals.basis import basis_named, def2_svp
from nearsight.quantum_transport.energy_point import EnergyPoint
from nearsight.quantum_transport.points_file import PointsFile
from nearsight.structures.graph import build_graph, pair_order
from nearsight.structures.structure import Structure
from tests.formats.abacus_files import write_run as write_abacus_run
from tests.formats.aims_files import light
from tests.formats.aims_files import write_run as write_aims_run
from tests.formats.files import MHFO2
from tests.formats.siesta_files import write_hsx
from tests.formats.spin_files import write_abacus as write_spin_abacus
from tests.formats.spin_files import write_siesta as write_spin_siesta
from tests.formats.test_cp2k_ao_matrices import text as ao_text
from tests.formats.test_molden import write_molden
from tests.formats.test_pyscf_checkpoint import write_checkpoint, write_crystal
from tests.formats.test_qh9 import DYNAMIC
from tests.formats.test_qh9 import write as write_qh9
from tests.formats.wannier_files import orthonormal, write_tb

DATA = Path(__file__).parents[1] / "data"


POINTS_KEY = "0" * 64


@functools.cache
def sealed_content() -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a checkpoint that is written with checksums."""
    metadata, tensors = read_tensors(DATA / "version_0_1_0" / "nearsight" / "last.safetensors", checkpoint=True)
    return {**metadata, "format": FORMAT}, tensors


@functools.cache
def transport_points() -> dict[tuple[int, float], EnergyPoint]:
    """Points of a sweep over two energies at two k⊥, with local densities."""
    rng = np.random.default_rng(2)
    return {
        (k, e): EnergyPoint(e + 1.0, rng.random(), 1, 2, rng.random(8), rng.random(), rng.random(3), rng.random(3))
        for k in range(2)
        for e in (-0.1, 0.1)
    }


@functools.cache
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


def two_spins(calculation: Calculation) -> Calculation:
    """The same H as that of spin up, and another one as that of spin down."""
    h, levels = calculation.require_hamiltonian(), calculation.k_eigenvalues
    assert levels is not None
    return replace(
        calculation,
        hamiltonian=None,
        hamiltonian_up=h,
        hamiltonian_down=h.with_values(2 * h.values),
        eigenvalues=None,
        k_eigenvalues=np.stack([levels, 2 * levels]),
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
    for layout in ("deepx", "deeph", "dftio"):
        export(calculation, folder / layout, layout)
    export(calculation, folder / "abacus_new", "abacus")
    shutil.move(write_abacus_run(folder, calculation), folder / "abacus")
    for name in ("siesta", "tshs"):
        (folder / name).mkdir()
    write_hsx(folder / "siesta" / "x.HSX", calculation)
    export(calculation, folder / "tshs" / "x.TSHS", "tshs")
    write_aims_run(folder / "aims", light(calculation))
    write_tb(folder / "w90", calculation)
    export(orthonormal(calculation), folder / "w90_shells", "wannier90")
    magnet = two_spins(calculation)
    write_calculation(folder / "spin.h5", magnet)
    (folder / "siesta_spin").mkdir()
    write_spin_siesta(folder / "siesta_spin" / "x.HSX", magnet)
    (folder / "made").mkdir()
    shutil.move(write_spin_abacus(folder / "made", magnet), folder / "abacus_spin")
    write_checkpoint(folder / "water.chk")
    write_crystal(folder / "crystal.chk", (2, 1, 1))
    write_molden(folder / "water.molden")
    _write_npz(folder / "calc.npz", calculation)
    _write_qh9(folder / "qh9.db")
    _write_schnorb(folder / "schnorb.db")
    shutil.copytree(MHFO2 / "text_full", folder / "text")
    with zipfile.ZipFile(DATA / "cp2k_runs.zip") as archive:
        for name in ("charged", "md", "centred", "uks"):
            archive.extractall(folder, [each for each in archive.namelist() if each.startswith(f"{name}/")])
    _write_public_folder(folder / "public", folder / "charged")
    (folder / "ao.txt").write_text(ao_text(np.random.default_rng(0).normal(size=(5, 5))))
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
    shutil.copy(DATA / "version_0_1_0" / "nearsight" / "last.safetensors", folder / "last.safetensors")
    write_tensors(folder / "sealed.safetensors", *reversed(sealed_content()))
    PointsFile(folder / "points.h5", POINTS_KEY).write(transport_points())
    (folder / "run").mkdir()
    for name in ("config.yaml", "log.jsonl"):
        shutil.copy(DATA / "version_0_1_0" / "nearsight" / name, folder / "run" / name)
    (folder / "a.data").write_text(LAMMPS)
    (folder / "a.cif").write_text(CIF)
    (folder / "POSCAR").write_text(POSCAR)
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


def _write_public_folder(folder: Path, run: Path) -> None:
    """As in the data set Amorphous-Hamiltonians, with the matrices of a run of CP2K."""
    folder.mkdir()
    for letter, kind in (("H", "KS"), ("S", "S")):
        shutil.copy(run / f"charged-{kind}_SPIN_1-1_0.csr", folder / f"{letter}.csr")
    (folder / "structure.xyz").write_text("2\n Cell: 6 6 6\nO 0 0 0\nH 0 0 0.97\n")


LAMMPS = """HfO2

3 atoms
2 atom types

0.0 5.1 xlo xhi
0.0 5.2 ylo yhi
0.0 5.3 zlo zhi

Masses

1 178.486
2 15.999

Atoms # atomic

1 1 0.0 0.0 0.0
2 2 2.0 0.3 0.2
3 2 0.4 2.1 0.3
"""
CIF = """data_x
_cell_length_a 5.1
_cell_length_b 5.2
_cell_length_c 5.3
_cell_angle_alpha 90
_cell_angle_beta 99
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 21/c'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_occupancy
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Hf1 Hf 1.0 0.276 0.040 0.208
O1 O 1.0 0.074 0.332 0.347
O2 O 1.0 0.449 0.758 0.480
"""
POSCAR = """HfO2
1.0
5.1 0 0
0 5.2 0
0 0 5.3
Hf O
1 2
Direct
0 0 0
0.4 0.06 0.04
0.08 0.4 0.06
"""
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
