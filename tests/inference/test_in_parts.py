"""Predictions in parts: the numbers of the whole, whatever the division; shards that are resumed to the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

import nearsight as ns
from nearsight.api.in_parts import predicted_parts
from nearsight.errors import ConfigError, FormatError, InputError
from nearsight.folder_lock import locked_folder
from nearsight.inference.in_parts import PredictionInParts
from nearsight.inference.plan import plan_prediction
from nearsight.inference.predict import predict_hamiltonian
from nearsight.inference.sharded import WrittenInParts, write_in_parts
from nearsight.inference.tables import TablesInMemory
from nearsight.launch import Launch
from nearsight.nn.architectures.xia2025.config import Xia2025Config
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.loading import load_model
from nearsight.nn.model import HamiltonianModel
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import describe, read_blocks, read_calculation, read_parts
from nearsight.operators.symmetry import merged, whole_of_half
from nearsight.operators.two_centre_overlap import TwoCentreOverlap, overlap_of
from nearsight.partition.bisection import Bisection
from nearsight.partition.metis import Metis
from nearsight.partition.regions import Regions
from nearsight.partition.slabs import Slabs
from nearsight.recipes.overlap import with_pyscf_functions
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.learning.random_calculation import BASIS, CUTOFF, random_structure

TRAINED = Path("tests/data/version_0_1_0/nearsight")
SMALLEST = 1e-3
"""Blocks of S that are kept, so that the small cells of these tests have few images within its range."""


def unwrapped(pbc: bool | list[bool] = True) -> Structure:
    """Atoms in cells here and there."""
    structure = random_structure()
    cells = np.random.default_rng(5).integers(-2, 3, (len(structure), 3)) * np.asarray(pbc, dtype=int)
    return Structure(structure.numbers, structure.positions + cells @ structure.cell, structure.cell, pbc)


def xia(layers: int) -> HamiltonianModel:
    return Xia2025Model.new(Xia2025Config(cutoff=CUTOFF, layers=layers), BASIS, torch.float64, 0)


def trained() -> HamiltonianModel:
    model = load_model(TRAINED)
    model.network.double()
    return model


def overlap_of_model(model: HamiltonianModel, structure: Structure) -> TwoCentreOverlap:
    return TwoCentreOverlap.of(with_pyscf_functions(model.basis.restricted(structure.numbers)), smallest=SMALLEST)


def in_parts(model: HamiltonianModel, structure: Structure, labels: np.ndarray) -> BlockOperator:
    regions = Regions(structure, labels)
    parts = PredictionInParts(model, regions, TablesInMemory(regions)).parts()
    return whole_of_half(merged([part.hamiltonian for part in parts]))


def assert_equal(found: BlockOperator, whole: BlockOperator, tolerance: float = 1e-10) -> None:
    for name in ("source", "target", "shift"):
        assert np.array_equal(getattr(found, name), getattr(whole, name))
    assert np.abs(found.values - whole.values).max() < tolerance


@pytest.mark.exact
@pytest.mark.parametrize("pbc", [True, [True, False, True], False])
@pytest.mark.parametrize("make", [lambda: xia(1), lambda: xia(2), trained], ids=["xia1", "xia2", "nearsight"])
def test_parts_are_the_whole(make, pbc):
    model, structure = make(), unwrapped(pbc)
    whole = predict_hamiltonian(model, structure)
    assert np.abs(whole.values).max() > 1.0
    graph = build_graph(structure, CUTOFF)
    for partitioner in (Bisection(3), Slabs(count=2), Metis(4)):
        assert_equal(in_parts(model, structure, partitioner.assign(structure, graph)), whole)


def test_half_of_the_rows_of_s_is_that_of_the_whole():
    model, structure = trained(), unwrapped()
    known = overlap_of_model(model, structure)
    regions = Regions(structure, Bisection(3).assign(structure))
    parts = PredictionInParts(model, regions, TablesInMemory(regions), known).parts()
    found = merged([part.overlap for part in parts if part.overlap is not None])
    assert_equal(whole_of_half(found), overlap_of(structure, known.basis, smallest=SMALLEST), 1e-12)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WrittenInParts]:
    path = tmp_path_factory.mktemp("parts") / "h.h5"
    return path, write(path)


def write(path: Path, **more) -> WrittenInParts:
    model, structure = trained(), unwrapped()
    known = overlap_of_model(model, structure)
    head = Calculation(structure, known.basis, cutoff=model.config.cutoff, charge=1.0)
    return write_in_parts(path, model, head, 3, overlap=known, **more)


def hashes(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.parent.rglob("*") if file.is_file())
    return {str(file.relative_to(path.parent)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_an_index_reads_as_a_store(written):
    path, result = written
    model, structure = trained(), unwrapped()
    prediction = model.predict(structure)
    whole, found = prediction.operator(), read_calculation(path)
    assert_equal(found.require_hamiltonian(), whole)
    assert_equal(found.require_overlap(), overlap_of(structure, found.basis, smallest=SMALLEST), 1e-12)
    assert found.charge == 1.0
    assert result.n_pairs == whole.n_pairs == describe(path)["hamiltonian"]["n_pairs"]
    on_site = np.flatnonzero(whole.on_site)
    assert result.mean_on_site == pytest.approx(np.abs(whole.values[whole.flat_index(on_site)]).mean())
    expected = prediction.expected_errors
    assert expected is not None
    assert found.error_estimate is not None
    assert result.expected_errors == pytest.approx(prediction.mean_expected_errors())
    assert np.array_equal(result.out_of_distribution, expected.out_of_distribution)
    own = whole.find(prediction.pairs.source, prediction.pairs.target, prediction.pairs.shift)
    assert found.error_estimate[own] == pytest.approx(expected.of_blocks, rel=1e-6)


def test_rows_and_parts_of_an_index(written):
    path, _ = written
    whole = read_calculation(path).require_hamiltonian()
    rows = read_blocks(path, "hamiltonian", np.array([2, 17]))
    assert_equal(rows, whole.select(np.isin(whole.source, [2, 17])), 1e-15)
    parts = list(read_parts(path))
    assert [part.number for part in parts] == [0, 1, 2]
    assert sorted(np.concatenate([part.atoms for part in parts])) == list(range(len(whole.numbers)))
    assert_equal(whole_of_half(merged([part.hamiltonian for part in parts])), whole, 1e-15)
    [alone] = read_parts("data/silicon_2.h5")
    known = ns.read("data/silicon_2.h5").require_hamiltonian()
    assert_equal(whole_of_half(alone.hamiltonian), known, 1e-15)


def test_what_is_missing_is_computed_and_the_bytes_are_the_same(written, tmp_path):
    path, result = written
    before = hashes(path)
    (result.folder / "000001.h5").unlink()
    path.unlink()
    said: list[str] = []
    again = write(path, progress=lambda event: said.append(event.message))
    assert again.computed == 1
    assert "2 of 3 parts are there" in "".join(said)
    assert hashes(path) == before
    assert write(path).computed == 0


def test_a_changed_or_missing_shard_is_refused(written, tmp_path):
    path, result = written
    shard = result.folder / "000002.h5"
    kept = shard.read_bytes()
    try:
        shard.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(FormatError, match=r"000002\.h5: expected the shard that .* names, got a file with another"):
            read_calculation(path)
        shard.unlink()
        with pytest.raises(FormatError, match=r"expected the shard .*000002\.h5, got none"):
            list(read_parts(path))
    finally:
        shard.write_bytes(kept)
    moved = tmp_path / "moved.h5"
    moved.write_bytes(path.read_bytes())
    with pytest.raises(FormatError, match="shards lie beside their index"):
        read_calculation(moved)


def test_a_shard_that_is_not_what_was_written_is_computed_again(tmp_path):
    """Truncated, changed, another shard, or one of another prediction: to predict again mends it."""
    path = tmp_path / "h.h5"
    shard = write(path).folder / "000001.h5"
    before, kept = hashes(path), shard.read_bytes()
    other = write(tmp_path / "other.h5", precision="float32").folder
    changed = bytearray(kept)
    with h5py.File(shard, "r") as file:
        changed[file["hamiltonian/values"].id.get_chunk_info(0).byte_offset] ^= 255
    wrong = [kept[: len(kept) // 2], b"", bytes(changed), (shard.parent / "000002.h5").read_bytes()]
    for content in (*wrong, (other / "000001.h5").read_bytes()):
        assert content != kept
        shard.write_bytes(content)
        assert write(path).computed == 1
        assert {name: value for name, value in hashes(path).items() if name in before} == before


@pytest.mark.parametrize("said", ["", '{"parts": 3}', '{"parts": 2, "division": "0011223344556677"}'])
def test_parts_of_another_division_are_not_mixed(tmp_path, said):
    path = tmp_path / "h.h5"
    folder = write(path).folder
    (folder / "000002.h5").unlink()
    whole = trained().predict(unwrapped()).operator()
    for name in ("atoms_000000.npz", "atoms_000001.npz"):
        (folder / name).write_bytes(b"of the division before")
    (folder / "parts.json").write_text(said)
    model, structure = trained(), unwrapped()
    known = overlap_of_model(model, structure)
    head = Calculation(structure, known.basis, cutoff=model.config.cutoff, charge=1.0)
    assert write_in_parts(path, model, head, 2, overlap=known).computed == 2
    assert_equal(read_calculation(path).require_hamiltonian(), whole)


def test_an_index_that_points_elsewhere_is_refused(written, tmp_path):
    from nearsight.operators.hdf5_content import HASH, content_hash
    from nearsight.operators.store_head import UNIT_OF

    path = tmp_path / "h.h5"
    path.write_bytes(written[0].read_bytes())
    with h5py.File(path, "r+") as file:
        file["shards"].attrs["folder"] = "../elsewhere"
        file["shards"].attrs[HASH] = content_hash(file["shards"])
        file.attrs[HASH] = content_hash(file, tuple(UNIT_OF))
    with pytest.raises(FormatError, match="which is not one beside the file"):
        read_calculation(path)


def test_a_newer_prediction_removes_the_shards_of_the_older_one(tmp_path):
    path = tmp_path / "h.h5"
    first = write(path)
    second = write(path, precision="float32")
    assert first.folder != second.folder
    assert not first.folder.exists()
    assert read_calculation(path).require_hamiltonian().n_pairs == second.n_pairs
    ns.load_model(TRAINED).predict_to(path, unwrapped(), self_consistent=False)
    assert not second.folder.exists()


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "h.h5"
    folder = write(path).folder
    with locked_folder(folder), pytest.raises(ConfigError, match="wait until it has ended"):
        write(path)


def test_who_sees_the_whole_structure_is_not_divided():
    model = trained()
    sees_all = replace(model, baseline=replace(model.baseline, charges=object()))  # type: ignore[arg-type,call-arg]
    structure = unwrapped()
    assert sees_all.reach is None
    with pytest.raises(InputError, match="expected a model that sees only what is near"):
        plan_prediction(sees_all, structure, in_parts=True)
    plan = plan_prediction(sees_all, structure, memory_gb=1e-3)
    assert plan.count == 0
    assert "may not suffice" in plan.reason


def test_the_plan_divides_where_memory_is_short(tmp_path):
    model, structure = trained(), random_structure()
    plan = plan_prediction(model, structure, memory_gb=8.0)
    assert plan.count == 0
    assert plan.reason.startswith("at once: ")
    big = Structure(
        np.tile(structure.numbers, 3000), repeated(structure, 3000), structure.cell * [[3000], [1], [1]], True
    )
    plan = plan_prediction(model, big, memory_gb=1.0)
    assert plan.count > 5
    assert plan.peak <= 1e9
    assert plan.reason.startswith(f"in {plan.count} parts (bisection)")
    on_one, on_many = Launch(5, 8, 5, 8), Launch(5, 8, 0, 1)
    assert plan_prediction(model, big, memory_gb=8.0, in_parts=True, launch=on_one).peak <= 1e9
    assert plan_prediction(model, big, memory_gb=1.0, launch=on_many).peak == plan.peak  # each has its own gigabyte
    assert plan_prediction(model, structure, in_parts=True, launch=on_many).count == 8
    with pytest.raises(InputError, match=r"expected at least .* GB of memory to predict in parts"):
        plan_prediction(model, big, memory_gb=0.1)
    with pytest.raises(InputError, match=r"GB of disk"):
        replace(plan, disk=1e18).check_disk(tmp_path)


def test_what_was_begun_in_parts_goes_on_in_them(tmp_path):
    """Also where the whole would fit today; and not silently with parts that are larger than the memory."""
    path = tmp_path / "h.h5"
    said: list[str] = []
    model = ns.load_model(TRAINED)
    structure = unwrapped()
    head = Calculation(structure, model.basis.restricted(structure.numbers), cutoff=model.cutoff)
    folder = write_in_parts(path, model.inner, head, 3).folder
    (folder / "000001.h5").unlink()
    path.unlink()

    def predict(memory_gb: float | None = None) -> int:
        return model.predict_to(
            path,
            structure,
            self_consistent=False,
            overlap=False,
            memory_gb=memory_gb,
            progress=lambda event: said.append(event.message),
        ).parts

    assert predict() == 3
    assert "in 3 parts (bisection) of at most" in said[0]
    assert ", as it was begun" in said[0]
    assert "2 of 3 parts are there" in "".join(said)
    plan = plan_prediction(model.inner, structure, begun=3, memory_gb=0.7)
    assert plan.count == 3
    least = plan_prediction(model.inner, structure, begun=12).peak / 1e9
    with pytest.raises(InputError, match=r"expected at least .* to go on with the 3 parts .* remove the folder"):
        plan_prediction(model.inner, structure, begun=3, memory_gb=(least + plan.peak / 1e9) / 2)
    for nonsense in (float("nan"), 0.0, -1.0):
        with pytest.raises(InputError, match="expected memory above 0 GB, got"):
            predict(nonsense)


def test_what_is_written_already_needs_no_disk(tmp_path, monkeypatch):
    model, structure = trained(), unwrapped()
    plan = replace(plan_prediction(model, structure, in_parts=True), disk=1e9)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=int(0.4e9)))
    plan.check_disk(tmp_path, int(0.7e9))
    with pytest.raises(InputError, match=r"expected 0\.5 GB of disk for the result, got 0\.4 GB free"):
        plan.check_disk(tmp_path, int(0.5e9))


def repeated(structure: Structure, count: int) -> np.ndarray:
    return np.concatenate([structure.positions + k * structure.cell[0] for k in range(count)])


def long_structure(path: Path) -> Path:
    """Write many cells in a row."""
    import ase
    import ase.io

    s, count = random_structure(), 40
    cell = s.cell * [[count], [1], [1]]
    ase.io.write(path, ase.Atoms(np.tile(s.numbers, count), repeated(s, count), cell=cell, pbc=True), format="extxyz")
    return path


def command(launcher: list[str], structure: Path, output: Path) -> list[str]:
    call = [sys.executable, *launcher, "-m", "nearsight", "predict", str(TRAINED), str(structure), "-o", str(output)]
    return [*call, "--in-parts", "--no-self-consistent", "--no-overlap", "--threads", "1", "--memory", MEMORY]


MEMORY = "0.625"
"""Such that there are several parts: hardly more than the program takes, GB."""
OWN = os.environ | {"OMP_NUM_THREADS": "1"}


def predicted_here(structure: Path, output: Path) -> list[str]:
    """Predict as the command does; return what is said."""
    said: list[str] = []
    output.parent.mkdir(exist_ok=True)
    ns.load_model(TRAINED).predict_to(
        output,
        structure,
        self_consistent=False,
        overlap=False,
        in_parts=True,
        memory_gb=float(MEMORY),
        progress=lambda event: said.append(event.message),
    )
    return [line for line in said if line]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prediction that nothing stopped, of `s.xyz` beside its folder."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    predicted_here(long_structure(folder / "s.xyz"), folder / "here" / "h.h5")
    assert len(list((folder / "here").glob("h.h5.parts-*/00*.h5"))) > 3
    return folder / "here" / "h.h5"


KILLED = """
import os, signal, sys
from nearsight.cli.main import main
from nearsight.operators.store_writer import StoreWriter

say, said = StoreWriter.say, []

def last(writer, numbers):
    say(writer, numbers)
    said.append(writer)
    if len(said) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

StoreWriter.say = last
main()
"""
"""The command, killed while its third part is whole but under its temporary name."""


def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(uninterrupted, tmp_path):
    structure, output = uninterrupted.parent.parent / "s.xyz", tmp_path / "h.h5"
    call = command([], structure, output)
    assert call[1:3] == ["-m", "nearsight"]
    done = subprocess.run([call[0], "-c", KILLED, *call[3:]], stdout=subprocess.DEVNULL, env=OWN, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("h.h5.parts-*/00*.h5"))) == 2
    assert not output.exists()
    assert "2 of " in predicted_here(structure, output)[-1]
    assert hashes(output) == hashes(uninterrupted)


def test_many_parts_are_handed_over_with_their_tables_on_disk(tmp_path, monkeypatch):
    """They are the whole; nothing is left where the tables were."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    s, model = random_structure(), trained()
    structure = Structure(np.tile(s.numbers, 4), repeated(s, 4), s.cell * [[4], [1], [1]], True)
    plan = replace(plan_prediction(model, structure, in_parts=True), count=10)
    parts, files = [], []
    for part in predicted_parts(model, structure, plan, None, lambda event: None):
        parts.append(part.hamiltonian)
        files.append(len(list(tmp_path.glob("nearsight-atoms-*/*.npz"))))
    assert len(parts) == 10
    assert min(files[:-1]) > 0
    assert not list(tmp_path.iterdir())
    assert_equal(whole_of_half(merged(parts)), predict_hamiltonian(model, structure), 1e-10)


@pytest.mark.exact
def test_two_processes_write_what_one_writes(uninterrupted, tmp_path):
    structure, output = uninterrupted.parent.parent / "s.xyz", tmp_path / "h.h5"
    # The division, which depends on the memory that each of two processes has, is that of the first run.
    [folder] = uninterrupted.parent.glob("h.h5.parts-*")
    (tmp_path / folder.name).mkdir()
    (tmp_path / folder.name / "parts.json").write_bytes((folder / "parts.json").read_bytes())
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    call = [word if word != MEMORY else "1.25" for word in command(torchrun, structure, output)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=OWN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("in each of 2 processes") == 1
    assert hashes(output) == hashes(uninterrupted)
