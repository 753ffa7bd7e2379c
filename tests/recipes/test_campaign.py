"""Campaigns: read, refused, and which structures they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearsight.errors import ConfigError, FormatError
from nearsight.recipes.campaign import campaign_names, load_campaign, tasks
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.job import JobFolder

TEXT = """
structures:
  - {name: melt, melt_quench: hfo2-fast, atoms: 24, seeds: [3, 5]}
  - {name: mine, files: ["*.xyz"]}
dft: {cutoff: 100}
"""


def write(folder: Path, text: str = TEXT) -> Path:
    (folder / "campaign.yaml").write_text(text)
    return folder / "campaign.yaml"


@pytest.mark.parametrize("name", campaign_names())
def test_shipped_campaigns(name):
    campaign = load_campaign(name)
    assert campaign.description
    assert tasks(campaign, Path())


def test_a_result_for_each_structure(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.xyz").write_text("1\n\nH 0 0 0\n")
    campaign = load_campaign(write(tmp_path), {"dft.cutoff": 200})
    found = tasks(campaign, tmp_path)
    assert [task.name for task in found] == ["melt-3", "melt-5", "mine-a", "mine-b"]
    assert found[0].protocol is not None
    assert found[0].protocol.atoms == 24
    assert isinstance(campaign.dft, Cp2kSettings)
    assert campaign.dft.cutoff == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT.replace("cutoff: 100", "cutof: 100"), "unknown key 'dft.cutof'; did you mean 'dft.cutoff'"),
        (TEXT.replace("seeds: [3, 5]", "seeds: [3, 3]"), "each seed once"),
        (
            TEXT.replace("files:", "melt_quench: hfo2, files:"),
            "expected one of melt_quench, files, molecules, got melt_quench and files",
        ),
        (TEXT.replace("name: mine", "name: mine, seeds: [1]"), "seeds only with melt_quench"),
        (TEXT.replace("name: mine", "name: melt"), "a name of its own"),
        (TEXT.replace("name: mine", "name: ../up"), "structures.1.name"),
        (TEXT.replace("dft: {cutoff: 100}", "dft: {code: vasp}"), "dft: .*vasp"),
        ("structures: [", "expected YAML"),
        ("- a\n", "expected keys and values, got list"),
    ],
)
def test_mistakes_are_named(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        load_campaign(write(tmp_path, text))


def test_what_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"expected a YAML file or one of the campaigns .*hfo2-96"):
        load_campaign("hafnia")
    with pytest.raises(ConfigError, match=r"expected structures \*.xyz in .*, got none"):
        tasks(load_campaign(write(tmp_path)), tmp_path)
    (tmp_path / "a").mkdir()
    for folder in (tmp_path, tmp_path / "a"):
        (folder / "x.xyz").write_text("1\n\nH 0 0 0\n")
    twice = TEXT.replace('["*.xyz"]', '["*.xyz", "a/*.xyz"]')
    with pytest.raises(ConfigError, match="mine-x several times"):
        tasks(load_campaign(write(tmp_path, twice)), tmp_path)


def test_the_old_name_of_h0_is_read(tmp_path):
    text = TEXT.replace("cutoff: 100", "cutoff: 100, images: false, initial: true")
    assert load_campaign(write(tmp_path, text)).dft.h0
    assert load_campaign("molecules", ["dft.initial=true"]).dft.h0
    with pytest.raises(ConfigError, match=r"expected dft\.h0 alone, got dft\.initial"):
        load_campaign("molecules", {"dft.initial": True, "dft.h0": False})


def test_a_job_keeps_its_settings(tmp_path):
    folder = JobFolder(tmp_path, "a")
    folder.claim({"dft": {"cutoff": 100}, "seed": 1})
    folder.claim({"seed": 1, "dft": {"cutoff": 100}})
    with pytest.raises(ConfigError, match=r"dft.cutoff: 100 → 200\); give another --output"):
        folder.claim({"dft": {"cutoff": 200}, "seed": 1})
    folder.write("job.json", '{"dft": {"initial": false}, "seed": 1}')
    folder.claim({"dft": {"h0": False}, "seed": 1})


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"\0"])
def test_settings_of_a_job_that_are_none(tmp_path, text):
    folder = JobFolder(tmp_path, "a")
    folder.claim({"seed": 1})
    (folder.path / "job.json").write_bytes(text)
    with pytest.raises(FormatError, match=r"job\.json: expected the settings of a job"):
        folder.claim({"seed": 1})


def test_a_file_of_the_results_name_that_no_job_made(tmp_path):
    """It is not taken for the result, nor written over."""
    (tmp_path / "a.h5").write_bytes(b"a calculation of somebody")
    with pytest.raises(ConfigError, match=r"a\.h5: expected no file of this name, or one that this campaign made"):
        JobFolder(tmp_path, "a").claim({"seed": 1})
    assert (tmp_path / "a.h5").read_bytes() == b"a calculation of somebody"


@pytest.mark.parametrize(
    "change",
    [
        {"dft.potential": {"O": "GTH-PBE-q6\n&END KIND"}},
        {"dft.basis": "A B"},
        {"dft.ghost_element": "O\n"},
        {"dft.basis_file": "BASIS\n@INCLUDE x"},
        {"dft.basis_file": ""},
    ],
)
def test_words_that_would_be_more_input_of_cp2k(tmp_path, change):
    with pytest.raises(ConfigError, match=r"expected the (name|symbol) of"):
        load_campaign(write(tmp_path, TEXT), change)


@pytest.mark.parametrize("seeds", ["[-5]", "[99999999999999999999999]"])
def test_seeds_that_are_none(tmp_path, seeds):
    text = f"structures:\n  - {{name: a, melt_quench: gst, seeds: {seeds}}}\ndft: {{code: cp2k}}\n"
    with pytest.raises(ConfigError, match="seeds"):
        load_campaign(write(tmp_path, text))
