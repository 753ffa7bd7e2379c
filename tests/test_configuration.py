"""Configurations: read, changed, checked, and every mistake named with the way out."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from nearsight.configuration import Section, Shipped, apply_overrides, known_keys, read_tree, rename_keys, validated
from nearsight.errors import ConfigError

CAMPAIGNS = Shipped("nearsight.recipes", "campaigns", "campaigns")


class Water(Section):
    kind: Literal["water"] = "water"
    temperature: float = Field(300, gt=0)


class Metal(Section):
    kind: Literal["metal"]
    smearing: float | None = None


class Hubbard(Section):
    l: int = 0


class Study(Section):
    name: str | int = "study"
    liquid: Annotated[Water | Metal, Field(discriminator="kind")] = Water()
    parts: tuple[Water, ...] = ()
    shells: dict[str, Hubbard] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _not_all(self) -> Study:
        if self.parts and self.shells:
            raise ValueError("expected parts or shells")
        return self


def test_files_and_shipped_ones(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("")
    assert read_tree(path, CAMPAIGNS) == {}
    assert "molecules" in CAMPAIGNS.names()
    assert read_tree("molecules", CAMPAIGNS)["processes"] == 2
    with pytest.raises(ConfigError, match=r"expected a YAML file or one of the campaigns .*; did you mean 'molecules'"):
        read_tree("molecule", CAMPAIGNS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1, 2", r"a\.yaml: expected YAML, got a mistake in line 2"),
        ("- 1", r"a\.yaml: expected keys and values, got list"),
        ("!!python/object/apply:os.getcwd []", r"a\.yaml: expected YAML"),
    ],
)
def test_what_is_no_configuration(tmp_path, text, said):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_tree(tmp_path / "a.yaml", CAMPAIGNS)


def test_overrides():
    tree = {"parts": [{"temperature": 1}], "liquid": {"kind": "water"}}
    apply_overrides(tree, ["liquid.temperature=5", "parts.0.temperature=2", "shells.O={l: 1}", "name=a=b"])
    apply_overrides(tree, {"liquid.kind": "water"})
    assert tree == {
        "parts": [{"temperature": 2}],
        "liquid": {"kind": "water", "temperature": 5},
        "shells": {"O": {"l": 1}},
        "name": "a=b",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "expected key=value"),
        ("=1", "expected key=value"),
        ("name=[", "expected a YAML value after name="),
        ("name.first=1", "expected a section before the dot in 'name.first', but 'name' is a single value"),
        ("parts.1.temperature=1", r"expected a number from 0 to 0 in 'parts\.1\.temperature', got '1'"),
    ],
)
def test_overrides_that_cannot_be(text, said):
    with pytest.raises(ConfigError, match=said):
        apply_overrides({"name": "a", "parts": [{}]}, [text])


def test_renamed_keys():
    tree = {"warm": {"heat": 3}}
    rename_keys(tree, {"warm.heat": "liquid.temperature", "none.such": "name"})
    assert tree == {"warm": {}, "liquid": {"temperature": 3}}
    with pytest.raises(ConfigError, match=r"file: expected liquid\.temperature alone, got heat, its old name"):
        rename_keys({"heat": 1, "liquid": {"temperature": 2}}, {"heat": "liquid.temperature"}, "file")


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"nam": "x"}, "unknown key 'nam'; did you mean 'name'?"),
        ({"temperature": 3}, "unknown key 'temperature'; did you mean 'liquid.temperature'?"),
        ({"liquid": {"temprature": 3}}, "unknown key 'liquid.temprature'; did you mean 'liquid.temperature'?"),
        ({"liquid": {"kind": "metal", "temperature": 3}}, "unknown key 'liquid.temperature'; known are kind, smearing"),
        ({"parts": [{"temprature": 3}]}, "unknown key 'parts.0.temprature'; did you mean 'parts.0.temperature'?"),
        ({"shells": {"O": {"x": 3}}}, "unknown key 'shells.O.x'; known are l"),
        ({"shells": {"O": {"l": "p"}}}, "shells.O.l: Input should be a valid integer.*, got 'p'"),
        ({"liquid": {"temperature": -1}}, "liquid.temperature: Input should be greater than 0, got -1"),
        ({"parts": [{}], "shells": {"O": {}}}, "expected parts or shells$"),
        ({"liquid": {"kind": "gas"}}, "liquid: .*'gas'"),
    ],
)
def test_mistakes_are_named(tree, said):
    tree = {"liquid": {"kind": "water"} | tree.pop("liquid", {}), **tree}
    with pytest.raises(ConfigError, match=f"my.yaml: {said.replace('?', '[?]')}"):
        validated(Study, tree, "my.yaml")


def test_members_of_a_union_are_no_keys():
    with pytest.raises(ConfigError, match=r"my\.yaml: name: Input should be a valid string, got \[1\]; name: "):
        validated(Study, {"name": [1]}, "my.yaml")


def test_known_keys():
    assert known_keys(Study) == [
        "name",
        "liquid.kind",
        "liquid.temperature",
        "liquid.smearing",
        "parts.kind",
        "parts.temperature",
        "shells.l",
    ]
