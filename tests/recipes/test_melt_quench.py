"""Melt-quench with LAMMPS and with calculators of ASE: physics of the result, stopping, repeating, crystals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import units

from nearsight.errors import ConfigError, InputError, RecipeError
from nearsight.recipes import melt_quench as module
from nearsight.recipes.engine import make_engine
from nearsight.recipes.melt_quench import check_bonds, crystallised, describe, melt_quench, scaled, substituted
from nearsight.recipes.packing import pack
from nearsight.recipes.protocol import Dynamics, Minimise, Substitute, load_protocol, preset_names
from nearsight.structures.structure import Structure

SHORT = {
    "description": "short",
    "formula": {"Hf": 1, "O": 2},
    "atoms": 24,
    "volume_per_atom": 12.17,
    "least_distance": 1.7,
    "engine": "lammps:hfo2-rigid-ion",
    "stages": [
        {"do": "minimise", "steps": 50},
        {"do": "dynamics", "start": 3000, "end": 300, "ps": 0.2},
        {"do": "minimise", "steps": 50},
    ],
}


def run(folder: Path, seed: int = 1, **changes) -> np.ndarray:
    return melt_quench(load_protocol(SHORT, **changes), seed, folder).structure.positions


@pytest.mark.parametrize("name", preset_names())
def test_presets_can_be_read(name: str):
    protocol = load_protocol(name)
    assert protocol.expected
    for stage in protocol.stages:
        engine = (stage.engine or protocol.engine) if isinstance(stage, (Minimise, Dynamics)) else None
        assert engine in (None, "chgnet") or make_engine(engine).describe()


def test_the_papers_rates():
    ramp = next(s for s in load_protocol("hfo2").stages if isinstance(s, Dynamics) and s.start != s.end)
    assert (ramp.start - ramp.end) / ramp.ps == pytest.approx(9)  # K/ps, D.1
    ramp = next(s for s in load_protocol("ptge").stages if isinstance(s, Dynamics) and s.start != s.end)
    assert (ramp.start - ramp.end) / ramp.ps == pytest.approx(4.7)  # K/ps, D.4


def test_a_stopped_run_gives_the_same_structure(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole")
    original, calls = module._stage, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, "_stage", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    np.testing.assert_array_equal(run(tmp_path / "cut"), whole)
    assert len(calls) == 4  # the first two stages were not run again
    assert not np.array_equal(run(tmp_path / "other", seed=2), whole)


def test_the_provenance_is_enough_to_make_it_again(tmp_path):
    made = melt_quench(load_protocol(SHORT), 3, tmp_path / "a")
    protocol = load_protocol(json.loads(made.provenance["structure protocol"]))
    again = melt_quench(protocol, int(made.provenance["structure seed"]), tmp_path / "b")
    np.testing.assert_array_equal(again.structure.positions, made.structure.positions)


def test_a_folder_of_another_protocol_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(ConfigError, match="same protocol and seed"):
        run(tmp_path, seed=2)


def test_rigid_ions_make_amorphous_hafnia(tmp_path):
    """The shipped fast protocol: first peak and coordination as in Xia et al., Fig. 7."""
    protocol = load_protocol("hfo2-fast", atoms=48)
    made = melt_quench(protocol, 4, tmp_path).structure
    first, second = check_bonds(made, protocol.expected)
    assert 1.95 < first.peak < 2.2
    assert 5.5 < first.mean < 6.8
    assert first.mean == pytest.approx(2 * second.mean)
    assert "Hf–O first peak" in "\n".join(describe(made, protocol.expected))


def test_crystals_are_noticed():
    from ase.build import bulk

    fluorite = bulk("HfO2", "fluorite", a=5.1, cubic=True) * (2, 2, 1)
    assert crystallised(Structure.from_ase(fluorite), load_protocol("hfo2").expected)
    assert not crystallised(pack({"Hf": 1, "O": 2}, 96, 12.17, 1.75, seed=5), load_protocol("hfo2").expected)


def test_lammps_keeps_a_skewed_cell_and_finds_the_crystal(tmp_path):
    """A displaced diamond crystal of Stillinger-Weber Ge relaxes back, in its primitive skewed cell."""
    from ase.build import bulk

    crystal = Structure.from_ase(bulk("Ge", "diamond", a=5.654) * (3, 3, 3))
    moved = crystal.translated(np.random.default_rng(0).normal(0, 0.05, (len(crystal), 3)))
    back = make_engine("lammps:ge-stillinger-weber").minimise(
        moved, Minimise(do="minimise", steps=200, force=1e-4), tmp_path
    )
    shift = back.positions - crystal.positions
    assert np.abs(shift - shift.mean(axis=0)).max() < 2e-3
    np.testing.assert_array_equal(back.cell, crystal.cell)


def test_pressure_moves_the_volume(tmp_path):
    start = pack({"Hf": 1, "O": 2}, 24, 14.0, 1.8, seed=3)
    engine = make_engine("lammps:hfo2-rigid-ion")
    relaxed = engine.minimise(start, Minimise(do="minimise", steps=100), tmp_path)
    low, high = (Dynamics(do="dynamics", start=300, end=300, ps=0.5, pressure=p) for p in (1.0, 5e5))
    free, pressed = (engine.dynamics(relaxed, s, 1.0, 1, tmp_path) for s in (low, high))
    assert pressed.volume < 0.9 * free.volume
    assert pressed.cell[0, 1] == 0
    with pytest.raises(ConfigError, match="constant volume"):
        make_engine("ase:ase.calculators.emt.EMT").dynamics(relaxed, low, 1.0, 1, tmp_path, lambda w, d: None)


def test_an_ase_calculator_as_engine(tmp_path):
    """EMT copper at 600 K: equipartition is reached from half the kinetic energy, and the run repeats itself."""
    from ase.build import bulk

    copper = Structure.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True) * (2, 2, 2))
    engine = make_engine("ase:ase.calculators.emt.EMT")
    stage = Dynamics(do="dynamics", start=600, end=600, ps=0.4)
    first, second = (engine.dynamics(copper, stage, 4.0, 7, tmp_path) for _ in range(2))
    np.testing.assert_array_equal(first.positions, second.positions)
    spread = np.sqrt(((first.positions - copper.positions) ** 2).mean())
    # Debye model: ⟨u²⟩ = 3 ħ² T / (m k θ²) per Cartesian axis, θ = 315 K of copper: 0.11 Å at 600 K.
    theory = np.sqrt(3 * units._hbar**2 * 600 / (63.5 * units._amu * units._k * 315**2)) * 1e10
    assert 0.4 * theory < spread < 2.5 * theory


def test_chgnet_relaxes_a_structure_without_classical_potential(tmp_path):
    """CHGNet is an option: not everybody wants pymatgen."""
    pytest.importorskip("chgnet")
    packed = pack({"Ge": 1, "Sb": 2, "Te": 4}, 7, 31.5, 2.4, seed=2)
    engine = make_engine("chgnet")
    said: list[float] = []
    stage = Minimise(do="minimise", steps=5, force=0.1)
    relaxed = engine.minimise(packed, stage, tmp_path, lambda event: said.append(event.done / event.total))
    assert 0 < np.abs(relaxed.positions - packed.positions).max() < 1.5
    assert said == sorted(said)
    assert engine.describe().startswith("CHGNet 0.")


def test_substitution_and_density():
    made = pack({"Ge": 1}, 30, 22.6, 2.2, seed=0)
    alloy = scaled(substituted(made, Substitute(do="substitute", element="Ge", by="Pt", fraction=0.33333), 5), 17.75)
    assert alloy.formula == "Ge20Pt10"
    assert alloy.volume / 30 == pytest.approx(17.75)
    with pytest.raises(InputError, match="expected atoms Sb"):
        substituted(made, Substitute(do="substitute", element="Sb", by="Pt", fraction=0.5), 5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": "vasp"}, "expected an engine"),
        ({"engine": "lammps:reaxff"}, "expected a potential hfo2-rigid-ion"),
        ({"engine": "lammps:ge-stillinger-weber"}, "expected atoms of Ge"),
        ({"engine": "ase:nothing.Here"}, "expected ase:MODULE.CLASS"),
    ],
)
def test_engines_that_cannot_be(tmp_path, changes, said):
    with pytest.raises((ConfigError, InputError), match=said):
        run(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": [{"do": "boil"}]}, "stages.0"),
        ({"atom": 3}, "unknown key 'atom'; did you mean 'atoms'"),
        ({"timestep": -1}, "timestep: .*got -1"),
    ],
)
def test_mistakes_in_a_protocol_are_named(changes, said):
    with pytest.raises(ConfigError, match=said):
        load_protocol(SHORT, **changes)


def test_unknown_protocol():
    with pytest.raises(ConfigError, match="expected a YAML file or one of the melt-quench protocols"):
        load_protocol("hfo3")


def test_a_run_that_went_wrong(tmp_path):
    """Without relaxation two atoms stay on top of each other."""
    with pytest.raises(RecipeError, match="expected atoms at least"):
        melt_quench(
            load_protocol(SHORT | {"least_distance": 0.8, "stages": [{"do": "scale", "volume_per_atom": 4.0}]}),
            1,
            tmp_path,
        )
