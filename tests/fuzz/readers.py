"""Every reader with a small good file of its kind, the ways to spoil it, and the audit of what is still accepted."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearsight.formats.cp2k_ao_matrices import read_first_kohn_sham
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.formats.cp2k_wavefunction import read_wavefunction
from nearsight.formats.h0 import read_h0
from nearsight.formats.registry import read_any
from nearsight.formats.structure_files import read_structure
from nearsight.learning.checkpoint import TrainingState, load_checkpoint
from nearsight.learning.config import load_config
from nearsight.learning.optimisation import Schedule, make_optimizer, moving_average
from nearsight.nn.loading import load_model
from nearsight.nn.model_file import read_tensors
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.quantum_transport.points_file import PointsFile
from nearsight.recipes.campaign import load_campaign
from nearsight.report.training_log import read_run
from nearsight.structures.structure import Structure
from tests.fuzz import mutations
from tests.fuzz.audits import (
    audit_calculation,
    audit_finite,
    audit_model,
    audit_nothing,
    audit_same,
    audit_same_model,
    audit_same_points,
    audit_state,
    audit_structure,
)
from tests.fuzz.mutations import Mutation
from tests.fuzz.seeds import DATA, POINTS_KEY, small_calculation


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
        Raises where what was read cannot be right.
    share : int
        Its cases among `TOTAL`, the more the cheaper it is.
    """

    name: str
    file: str
    mutations: tuple[Mutation, ...]
    read: Callable[[Path], Any]
    audit: Callable[[Any], None]
    share: int


def _h0(path: Path) -> BlockOperator:
    given = small_calculation()
    numbers = np.array([72] * 4 + [8] * 8)
    positions = np.stack(np.meshgrid(*([np.arange(3) * 2.0] * 3)), axis=-1).reshape(-1, 3)[:12]
    structure = Structure(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    return read_h0(path, dataclasses.replace(Calculation(structure, given.basis)))


def _folder_of(path: Path) -> Calculation:
    return read_any(path.parent)


def _with_shells(path: Path) -> Calculation:
    return read_any(path.parent, basis={"Hf": "2s1p1d", "O": "1s1p"})


def _last_step(path: Path) -> Calculation:
    return read_any(path.parent, step="last")


@functools.cache
def _fresh() -> Any:
    """A model, and what is trained with it, as it is before a checkpoint is read."""
    folder = DATA / "version_0_1_0" / "nearsight"
    return load_model(folder), load_config(folder / "config.yaml").optimizer


def _checkpoint(path: Path) -> tuple[TrainingState, Any]:
    model, section = _fresh()
    optimizer = make_optimizer(list(model.network.parameters()), section)
    schedule = Schedule(optimizer, section)
    average = None if section.ema_decay is None else moving_average(model.network, section.ema_decay)
    before = torch.get_rng_state()
    try:
        state = load_checkpoint(path, model, optimizer, schedule, average)
    finally:
        torch.set_rng_state(before)
    assert all(bool(parameter.isfinite().all()) for parameter in model.network.parameters())
    for parameter in model.network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    schedule.before_step(state.step, 0.5)
    schedule.after_epoch(1.0)
    json.dumps(schedule.state_dict())
    return state, optimizer


def _sealed(path: Path) -> Any:
    return read_tensors(path, checkpoint=True)


def _points(path: Path) -> Any:
    return PointsFile(path, POINTS_KEY).read()


BYTES, TEXT = mutations.of_bytes, mutations.of_text
_BASIS = "SZV-MOLOPT-SR-GTH"

READERS = (
    Reader("store bits", "packed.h5", (mutations.one_bit,), read_any, audit_same, 7),
    Reader("store bytes", "packed.h5", (BYTES,), read_any, audit_calculation, 6),
    Reader("plain store bits", "plain.h5", (mutations.one_bit,), read_any, audit_same, 5),
    Reader("former store", "former.h5", (BYTES, mutations.one_bit), read_any, audit_calculation, 5),
    Reader("store objects", "former.h5", (mutations.of_hdf5,), read_any, audit_calculation, 7),
    Reader("store of a structure", "former.h5", (mutations.of_hdf5, BYTES), read_structure, audit_structure, 5),
    Reader("npz bytes", "calc.npz", (BYTES,), read_any, audit_calculation, 65),
    Reader("npz arrays", "calc.npz", (mutations.of_npz,), read_any, audit_calculation, 30),
    Reader("npz structure", "calc.npz", (mutations.of_npz, BYTES), read_structure, audit_structure, 50),
    Reader("h0", "h0.npy", (BYTES,), _h0, audit_nothing, 50),
    Reader("AO matrices", "ao.txt", (TEXT, BYTES), lambda p: read_first_kohn_sham(p, 5), audit_finite, 60),
    Reader("qh9", "qh9.db", (BYTES, mutations.of_sqlite, mutations.of_sqlite), read_any, audit_calculation, 15),
    Reader("schnorb", "schnorb.db", (BYTES, mutations.of_sqlite, mutations.of_sqlite), read_any, audit_calculation, 15),
    Reader("csr binary", "charged/charged-KS_SPIN_1-1_0.csr", (BYTES,), _folder_of, audit_calculation, 6),
    Reader("csr overlap", "charged/charged-S_SPIN_1-1_0.csr", (BYTES,), _folder_of, audit_calculation, 6),
    Reader("csr text", "text/hfo2-ks-KS_SPIN_1-1_0.csr", (BYTES,), _folder_of, audit_calculation, 6),
    Reader("cp2k input", "charged/job.inp", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("cp2k output", "charged/job.out", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("cp2k output of MD", "md/job.out", (TEXT, BYTES), _last_step, audit_calculation, 5),
    Reader("cp2k trajectory", "md/md-pos-1.xyz", (TEXT, BYTES), _last_step, audit_calculation, 5),
    Reader("cp2k image", "centred/centred-KS_SPIN_1_R_2-1_0.csr", (BYTES,), _folder_of, audit_calculation, 5),
    Reader("cp2k image table", "centred/job.out", (TEXT, BYTES), _folder_of, audit_calculation, 5),
    Reader("cp2k coordinates", "text/coord.inc", (TEXT, BYTES), _folder_of, audit_calculation, 6),
    Reader("public folder", "public/structure.xyz", (TEXT, BYTES), _folder_of, audit_calculation, 40),
    Reader("public matrix", "public/H.csr", (BYTES,), _folder_of, audit_calculation, 40),
    Reader("input structure", "text/hfo2.inp", (TEXT, BYTES), read_structure, audit_structure, 60),
    Reader("xyz", "a.xyz", (TEXT, TEXT, BYTES), read_structure, audit_structure, 60),
    Reader("extxyz", "a.extxyz", (TEXT, TEXT, BYTES), read_structure, audit_structure, 64),
    Reader("extxyz of ASE", "b.extxyz", (TEXT, TEXT, BYTES), read_structure, audit_structure, 60),
    Reader("deepx matrix", "deepx/hamiltonian.h5", (mutations.of_hdf5, BYTES), _folder_of, audit_calculation, 7),
    Reader("deepx words", "deepx/info.json", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("deepx structure", "deepx/POSCAR", (TEXT, BYTES), _folder_of, audit_calculation, 5),
    Reader("deeph matrix", "deeph/hamiltonians.h5", (mutations.of_hdf5, BYTES), _folder_of, audit_calculation, 7),
    Reader("deeph words", "deeph/info.json", (TEXT, BYTES), _folder_of, audit_calculation, 15),
    Reader("deeph structure", "deeph/site_positions.dat", (TEXT, BYTES), _folder_of, audit_calculation, 15),
    Reader("deeph shells", "deeph/orbital_types.dat", (TEXT, BYTES), _folder_of, audit_calculation, 15),
    Reader("abacus matrix", "abacus/data-HR-sparse_SPIN0.csr", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("abacus log", "abacus/running_scf.log", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("abacus levels", "abacus/istate.info", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("abacus present matrix", "abacus_new/hrs1_nao.csr", (TEXT, BYTES), _with_shells, audit_calculation, 8),
    Reader(
        "abacus second spin", "abacus_spin/data-HR-sparse_SPIN1.csr", (TEXT, BYTES), _folder_of, audit_calculation, 8
    ),
    Reader("siesta of two spins", "siesta_spin/x.HSX", (BYTES,), _folder_of, audit_calculation, 10),
    Reader("cp2k second spin", "uks/uks-KS_SPIN_2-1_0.csr", (BYTES,), _folder_of, audit_calculation, 6),
    Reader("cp2k output of two spins", "uks/job.out", (TEXT, BYTES), _folder_of, audit_calculation, 6),
    Reader("store of two spins", "spin.h5", (mutations.one_bit, mutations.of_hdf5), read_any, audit_calculation, 6),
    Reader("wannier90", "w90/wannier90_tb.dat", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("wannier90 input", "w90/wannier90.win", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("wannier90 with shells", "w90_shells/wannier90_hr.dat", (TEXT, BYTES), _with_shells, audit_calculation, 6),
    Reader("siesta matrix", "siesta/x.HSX", (BYTES,), _folder_of, audit_calculation, 10),
    Reader("siesta levels", "siesta/x.EIG", (TEXT, BYTES), _folder_of, audit_calculation, 10),
    Reader("transiesta matrix", "tshs/x.TSHS", (BYTES,), _with_shells, audit_calculation, 10),
    Reader("siesta positions", "tshs/x.XV", (TEXT, BYTES), _with_shells, audit_calculation, 10),
    Reader("aims matrix", "aims/rs_hamiltonian.out", (TEXT, BYTES), _folder_of, audit_calculation, 6),
    Reader("aims indices", "aims/rs_indices.out", (TEXT, BYTES), _folder_of, audit_calculation, 10),
    Reader("aims functions", "aims/basis-indices.out", (TEXT, BYTES), _folder_of, audit_calculation, 10),
    Reader("dftio matrix", "dftio/hamiltonians.h5", (mutations.of_hdf5, BYTES), _folder_of, audit_calculation, 7),
    Reader("dftio words", "dftio/basis.dat", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("dftio structure", "dftio/positions.dat", (TEXT, BYTES), _folder_of, audit_calculation, 8),
    Reader("pyscf checkpoint", "water.chk", (mutations.of_hdf5, BYTES), read_any, audit_calculation, 15),
    Reader("Molden", "water.molden", (TEXT, BYTES), read_any, audit_calculation, 2),
    Reader("pyscf crystal", "crystal.chk", (mutations.of_hdf5, BYTES), read_any, audit_calculation, 10),
    Reader("lammps", "a.data", (TEXT, TEXT, BYTES), read_structure, audit_structure, 20),
    Reader("cif", "a.cif", (TEXT, TEXT, BYTES), read_structure, audit_structure, 15),
    Reader("poscar", "POSCAR", (TEXT, TEXT, BYTES), read_structure, audit_structure, 15),
    Reader("basis file", "BASIS", (TEXT, BYTES), lambda p: read_basis_file(p, _BASIS), audit_nothing, 60),
    Reader("wavefunction", "a.wfn", (BYTES,), read_wavefunction, audit_nothing, 75),
    Reader("model", "nearsight.safetensors", (mutations.of_model, BYTES), load_model, audit_model, 8),
    Reader("model of xia2025", "xia2025.safetensors", (mutations.of_model, BYTES), load_model, audit_model, 6),
    Reader("checkpoint", "last.safetensors", (mutations.of_model, BYTES), _checkpoint, audit_state, 6),
    Reader("model with checksums", "sealed.safetensors", (mutations.one_bit, BYTES), _sealed, audit_same_model, 8),
    Reader("points of transport", "points.h5", (mutations.one_bit, mutations.of_hdf5), _points, audit_same_points, 6),
    Reader("training log", "run/log.jsonl", (TEXT, BYTES), lambda p: read_run(p.parent), audit_nothing, 45),
    Reader("configuration of a run", "run/config.yaml", (TEXT, BYTES), load_config, audit_nothing, 6),
    Reader("configuration", "train.yaml", (TEXT, TEXT, BYTES), load_config, audit_nothing, 10),
    Reader("campaign", "campaign.yaml", (TEXT, TEXT, BYTES), load_campaign, audit_nothing, 30),
)
TOTAL = sum(reader.share for reader in READERS)
