"""The paper's tables by one call: names, missing data, results beside the paper's, and runs that were stopped."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nearsight as ns
from nearsight.errors import ConfigError, FormatError, InputError
from nearsight.formats.data_names import read_named
from nearsight.progress import Event, StopToken
from nearsight.recipes.campaign import load_campaign, tasks
from nearsight.reproduction import comparison as comparison_module
from nearsight.reproduction import currents as currents_module
from nearsight.reproduction import data_sets as data_module
from nearsight.reproduction import molecules as molecules_module
from nearsight.reproduction import run as run_module
from nearsight.reproduction import trainings as trainings_module
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.findings import sentence
from nearsight.reproduction.measures import MEASURES, written
from nearsight.reproduction.protocol import (
    ComparisonProtocol,
    CurrentsProtocol,
    Finding,
    MoleculesProtocol,
    chosen_names,
    load_protocol,
    protocol_names,
)
from nearsight.reproduction.result import Line
from nearsight.reproduction.workspace import Workspace
from tests.formats.molecules import water
from tests.formats.test_schnorb import arrays_of, raw
from tests.formats.test_schnorb import write as write_database
from tests.learning.random_calculation import random_calculation


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Path:
    """A folder with small structures under the names of C and D."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("hfo2-train", "hfo2-test")):
        ns.write(folder / data_sets()[name].file, random_calculation(seed=seed))
    return folder


@pytest.fixture
def small(stand_ins, monkeypatch) -> Path:
    """The folder with small structures, which are what C and D are said to be here."""
    for seed, name in enumerate(("hfo2-train", "hfo2-test")):
        said = {"formula": random_calculation(seed=seed).structure.formula, "b2sum": None}
        monkeypatch.setitem(data_sets(), name, data_sets()[name].model_copy(update=said))
    return stand_ins


@pytest.fixture
def brief(monkeypatch) -> None:
    """Table 2 with two epochs, slabs of a cell of 9 Å and a cutoff of 4 Å."""
    known = load_protocol("table-2")
    assert isinstance(known, ComparisonProtocol)
    settings = {"xia2025": {"model.cutoff": 4.0, "data.check": False}, "nearsight": None}
    monkeypatch.setattr(
        run_module, "load_protocol", lambda name: known.model_copy(update={"quick_epochs": 2, "settings": settings})
    )


def table_2(output: Path, small: Path, stop: StopToken | None = None) -> run_module.Reproduction:
    return ns.reproduce("table-2", output=output, quick=True, data=[small], stop=stop)


def test_names_that_are_none_are_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"expected one of table-2, .*or all, got 'tabel-2'; did you mean 'table-2'"):
        ns.reproduce("tabel-2")
    with pytest.raises(ConfigError, match="got no name"):
        ns.reproduce()
    assert chosen_names(["figure-7", "all"])[0] == "figure-7"
    assert set(chosen_names(["all"])) == set(protocol_names())
    wanted = {f"table-{n}" for n in (2, 3, 4, 5, 8, 9, 10, 11, 12, 13)} | {f"figure-{n}" for n in (5, 7, 8, 9, 10, 11)}
    assert wanted <= set(protocol_names())


@pytest.mark.parametrize("name", protocol_names())
def test_protocols_name_measures_and_data_that_there_are(name: str) -> None:
    protocol = load_protocol(name)
    assert set(protocol.measures) <= set(MEASURES)
    assert protocol.differs
    if isinstance(protocol, ComparisonProtocol):
        assert {key for row in protocol.rows for key in row.paper} <= set(MEASURES)
        assert all("test" not in name for row in protocol.rows for name in (*row.train, *row.starts_from))
        assert any(row.quick for row in protocol.rows)


def test_a_row_may_have_a_network_that_the_others_do_not_have(tmp_path) -> None:
    """Table 3: the default network cuts nothing, and has one row of its own."""
    protocol = load_protocol("table-3")
    assert isinstance(protocol, ComparisonProtocol)
    tests = list(comparison_module._tests(protocol, Workspace(tmp_path, quick=True)))
    assert [test.training.network for _, _, test in tests] == ["xia2025"] * 3 + ["nearsight"]
    assert [test.training.epochs for _, _, test in tests] == [60, 60, 60, None]
    by_time = list(comparison_module._tests(protocol, Workspace(tmp_path, quick=True, minutes=1.0)))
    assert {test.training.epochs for _, _, test in by_time} == {None}


def test_data_are_shipped_or_made_by_a_campaign() -> None:
    shipped = data_module.shipped_folder()
    assert shipped is not None
    for data_set in data_sets().values():
        if data_set.campaign is None:
            assert (shipped / data_set.file).is_file()
        elif data_set.campaign == "hfox-concentrations":
            made = {f"{task.name}.h5" for task in tasks(load_campaign(data_set.campaign), Path())}
            assert data_set.file in made


def test_shipped_data_are_what_they_are_said_to_be(tmp_path) -> None:
    workspace = Workspace(tmp_path)
    for name, data_set in data_sets().items():
        if data_set.campaign is None:
            assert data_set.b2sum is not None
            assert workspace.needed(name).name == Path(data_set.file).name


def test_a_file_is_not_believed_by_its_name(tmp_path, stand_ins) -> None:
    """Silicon, another calculation of the same atoms, a prediction, and a copy of the training: each is refused."""
    shipped = data_module.shipped_folder()
    assert shipped is not None

    def refused(name: str, calculation, message: str) -> None:
        file = tmp_path / data_sets()[name].file
        ns.write(file, calculation) if not isinstance(calculation, Path) else shutil.copy(calculation, file)
        with pytest.raises(FormatError, match=rf"{file.name}: expected {message}"):
            Workspace(tmp_path / "out", (tmp_path,)).needed(name)
        file.unlink()

    refused("hfo2-train", shipped / "silicon_2.h5", r"Hf124O248 \(a-HfO2, 372 atoms \(C\)\), got Si2")
    refused(
        "gst-train",
        shipped / "aGST_70_test.h5",
        r"the shipped file of a-GST, 70 atoms, b2sum 442a.*, got Ge10Sb20Te40 with 57ef",
    )
    refused("hfo2-1000-test", stand_ins / "aHfO2_372_C.h5", r"Hf362O724")
    known = ns.read(shipped / "aHfO1.8_96_test.h5")
    predicted = replace(known, provenance={**known.provenance, "predicted": "yes"})
    refused(
        "hfo1.8-test", predicted, "a DFT calculation of a-HfO1.8, 96 sites .another melt., got a network's prediction"
    )


def test_a_copy_of_the_training_is_no_test(tmp_path, small, monkeypatch) -> None:
    train, test = data_sets()["hfo2-train"], data_sets()["hfo2-test"]
    monkeypatch.setitem(data_sets(), "hfo2-test", test.model_copy(update={"formula": train.formula}))
    for name in (train.file, test.file):
        shutil.copy(small / train.file, tmp_path / name)
    with pytest.raises(InputError, match=r"_D.h5: expected another calculation than .*_C.h5 .*, got a copy of it"):
        ns.reproduce("table-2", output=tmp_path / "out", quick=True, data=[tmp_path])
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_of_results(tmp_path) -> None:
    (tmp_path / "notes").write_text("mine")
    for output in ("notes", "notes/below"):
        with pytest.raises(InputError, match=r"expected a folder for the results, got the file .*notes; give another"):
            ns.reproduce("figure-10", output=tmp_path / output)
    with pytest.raises(InputError, match=r"expected a folder with data, got .*notes: a file; name the folder"):
        ns.reproduce("figure-10", output=tmp_path, data=[tmp_path / "notes"])
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_table_stands_beside_the_paper_and_is_not_made_twice(tmp_path, small, brief, monkeypatch) -> None:
    done = table_2(tmp_path, small)
    (result,) = done.results
    assert [(line.labels[0], line.who) for line in result.lines] == [
        ("no", "paper"),
        ("no", "xia2025"),
        ("yes", "paper"),
        ("yes", "xia2025"),
    ]
    assert all(line.values["epochs"] == 2 for line in result.lines if line.who == "xia2025")
    folder = tmp_path / "table-2"
    assert {path.name for path in folder.iterdir()} == {"result.json", "table.md", "figure.png", "page.html"}
    tree = json.loads((folder / "result.json").read_text())
    assert tree["lines"][1]["values"]["eps_n_mEh"] == pytest.approx(result.lines[1].values["eps_n_mEh"])
    table = (folder / "table.md").read_text()
    assert "| no | paper | 5.39 | 0.550 |" in re.sub(" +", " ", table)
    assert "quick" in table
    assert "What differs from the paper" in (tmp_path / "reproduction.html").read_text()
    assert "![Table 2: virtual nodes](table-2/figure.png)" in (tmp_path / "reproduction.md").read_text()

    monkeypatch.setattr(trainings_module, "train", lambda *a, **k: pytest.fail("trained again"))
    monkeypatch.setattr(trainings_module, "evaluate", lambda *a, **k: pytest.fail("tested again"))
    assert table_2(tmp_path, small).results[0].lines == result.lines
    record = next((tmp_path / "trainings").glob("*/test-*.json"))
    record.write_text("{")
    with pytest.raises(InputError, match=r"\.json: expected JSON of an earlier run, got a damaged file; remove it"):
        table_2(tmp_path, small)


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path, small, brief, monkeypatch) -> None:
    trained, evaluate = [], trainings_module.evaluate

    def counted(files, **settings):
        trained.append(settings["run_dir"])
        return ns.train(files, **settings)

    def killed(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainings_module, "train", counted)
    monkeypatch.setattr(trainings_module, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        table_2(tmp_path, small)
    assert len(trained) == 1
    assert not (tmp_path / "table-2").exists()
    monkeypatch.setattr(trainings_module, "evaluate", evaluate)
    assert len(table_2(tmp_path, small).results) == 1
    assert len(trained) == len(set(trained)) == 2


def test_a_run_that_is_stopped_says_so_and_goes_on(tmp_path, small, brief) -> None:
    stop, said = StopToken(), []

    def listen(event: Event) -> None:
        said.append(event.message)
        if event.message.startswith("table-2: xia2025 on"):
            stop.stop("stopped")

    stopped = ns.reproduce("table-2", output=tmp_path, quick=True, data=[small], progress=listen, stop=stop)
    assert stopped.interrupted
    assert stopped.results == ()
    assert any("min left" in text for text in said)
    assert not table_2(tmp_path, small).interrupted


def test_data_that_are_nowhere_are_named_with_the_way_to_get_them(tmp_path, monkeypatch) -> None:
    missing = load_protocol("table-4")
    found = run_module.KINDS["comparison"].missing(missing, run_module.Workspace(tmp_path))
    assert any("`nearsight generate hfo2-1000` makes aHfO2-1086-21.h5" in text for text in found)
    monkeypatch.setattr(data_module, "shipped_folder", lambda: None)
    with pytest.raises(InputError, match=r"figure-10.*shipped in the folder data of the repository"):
        ns.reproduce("figure-10", output=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match="no such folder"):
        ns.reproduce("figure-10", data=[tmp_path / "nothing"])


def test_one_that_fails_does_not_take_the_others_along(tmp_path, monkeypatch) -> None:
    """A protocol whose data are nowhere, and one that goes wrong, are said; the third is there."""

    def wrong(*arguments):
        raise InputError("expected sound data, got none")

    monkeypatch.setitem(run_module.KINDS, "levels", run_module.KINDS["levels"]._replace(units=lambda *a: [Fails()]))

    class Fails:
        says, result, seconds, done = "fails", tmp_path / "nothing", 1.0, False
        work = staticmethod(wrong)

    done = ns.reproduce("figure-5", "figure-10", output=tmp_path, quick=True)
    assert done.left_out == {"figure-5": "expected sound data, got none"}
    assert [result.name for result in done.results] == ["figure-10"]
    with pytest.raises(InputError, match="expected sound data"):
        ns.reproduce("figure-5", output=tmp_path, quick=True)


def test_a_figure_of_shipped_data(tmp_path) -> None:
    """Figure 10: far from the change, on-site blocks hardly notice; less where an atom is only moved."""
    (result,) = ns.reproduce("figure-10", output=tmp_path, quick=True).results
    far = {line.labels[0]: line.values["far_percent"] for line in result.lines}
    assert far["displaced"] < far["vacancy"] < far["substituted"] < 0.3
    assert (tmp_path / "figure-10" / "figure.png").stat().st_size > 10_000


def test_a_database_of_molecules_is_divided(tmp_path) -> None:
    """Each geometry is in one part, the same in every call; too few are refused."""
    molecule = water()
    write_database(tmp_path / "schnorb_hamiltonian_water.db", *(raw(arrays_of(molecule)) for _ in range(6)))
    protocol = load_protocol("table-13")
    assert isinstance(protocol, MoleculesProtocol)
    workspace, row = Workspace(tmp_path / "out", (tmp_path,), True), protocol.rows[0]
    split = molecules_module._split(protocol, workspace, row, (3, 1, 2))
    every = [*split.train, *split.validation, *split.test]
    assert [len(split.train), len(split.validation), len(split.test), len(set(every))] == [3, 1, 2, 6]
    assert molecules_module._split(protocol, workspace, row, (3, 1, 2)) == split
    assert sorted(read_named(every[0]).structure.numbers) == [1, 1, 8]
    row_of_uracil = protocol.rows[2].model_copy(update={"database": row.database})
    with pytest.raises(FormatError, match=r"expected C4H4N2O2 \(uracil\), got H2O"):
        molecules_module._geometry(every[0], row_of_uracil)
    whole = [counts for _, _, counts in molecules_module._rows(protocol, replace(workspace, quick=False))]
    assert whole == [row.paper_counts, *(other.counts for other in protocol.rows[1:])]
    assert "original database" in molecules_module._sources_said(protocol, workspace)[0]
    with pytest.raises(InputError, match="expected 7 geometries, got 6"):
        molecules_module._split(protocol, workspace, row, (4, 1, 2))


def test_findings_say_what_the_numbers_say() -> None:
    lines = [
        Line((), who, {"eps_n_mEh": value}, row)
        for who, values in (("paper", (5.39, 2.16)), ("xia2025", (6.0, 3.0)), ("nearsight", (1.0, 1.1)))
        for row, value in enumerate(values)
    ]
    text = sentence(Finding(kind="reduction", measure="eps_n_mEh", claim="C."), lines)
    assert text == ("C. ε_n paper: −60 %; xia2025: −50 % (agrees); nearsight: +10 % (less than in the paper).")
    spread = sentence(Finding(kind="spread", measure="eps_n_mEh", claim="C."), lines)
    assert "paper: largest 2.50 times the smallest; xia2025: largest 2.00 times the smallest (agrees)" in spread
    trend = sentence(Finding(kind="trend", measure="eps_n_mEh", claim="C."), lines)
    assert "nearsight: 1 → 1.1 (does not fall throughout)" in trend


def test_numbers_are_written_with_their_digits() -> None:
    assert [written("eps_n_mEh", x) for x in (2.16, 0.0324, -1512.0, None, float("nan"), 0.0)] == [
        "2.16",
        "0.0324",
        "−1,510",
        "–",
        "–",
        "0",
    ]
    assert written("epochs", 17736) == "17,736"
    assert written("current_A", 8e-9) == "8.00e-9"


def test_currents_do_not_depend_on_the_zero_of_energy() -> None:
    """H + μS has the currents of H; two per cent less between atoms have others."""
    shipped, protocol = data_module.shipped_folder(), load_protocol("table-6")
    assert shipped is not None
    assert isinstance(protocol, CurrentsProtocol)
    protocol = protocol.model_copy(update={"tolerance": 1e-4})
    exact = ns.read(shipped / "AlHfO2Al_156.h5")
    h, s = exact.require_hamiltonian(), exact.require_overlap()
    s = s.on_pairs(h.source, h.target, h.shift)
    between = np.where(np.repeat(h.source == h.target, h.lengths), 1.0, 0.98)
    given = {"shifted": h.values + 0.7 * s.values, "weaker": h.values * between}
    predicted = {
        who: SimpleNamespace(calculation=replace(exact, hamiltonian=replace(h, values=values)))
        for who, values in given.items()
    }
    levels = {"gap": protocol.levels["gap"].model_copy(update={"points": 3})}
    flowing = {}
    for who, matrix in currents_module._on_same_pairs(exact, predicted):
        ((_, (energies, transmission)),) = currents_module._transmissions(protocol, matrix, 2, levels)
        flowing[who] = currents_module._current(protocol, energies, transmission, 0.0)
    values = currents_module._values(flowing)
    assert values["DFT"] == {"current_A": pytest.approx(flowing["DFT"])}
    assert abs(values["shifted"]["log_ratio"]) < 1e-4
    assert abs(values["weaker"]["log_ratio"]) > 0.1
