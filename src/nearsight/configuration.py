"""Configurations as YAML: read from a file or a shipped one, changed by `key=value`, checked, and explained.

Every configuration of the package (training, campaigns, melt-quench protocols) is a tree of pydantic models. What is
the same for all of them is here; the models themselves are where they are used.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from nearsight.errors import ConfigError
from nearsight.foreign_files import read_text, reading, require_readable

_LARGEST = 10_000_000
"""Bytes of a file."""
_DEEPEST = 50
_MOST_VALUES = 100_000


class Section(BaseModel):
    """A section of a configuration: it cannot be changed once it is made; unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=BaseModel)


@dataclass(frozen=True)
class Shipped:
    """The YAML files that come with a package.

    Attributes
    ----------
    package : str
        The package that has the folder, such as `nearsight.recipes`.
    folder : str
        The folder in the package.
    what : str
        What the files are, in the plural, for messages: `campaigns`.
    """

    package: str
    folder: str
    what: str

    def names(self) -> tuple[str, ...]:
        """Return the names of the files, without their ending, sorted."""
        found = (path.name for path in files(self.package).joinpath(self.folder).iterdir())
        return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))

    def text(self, name: str) -> str:
        """Return the text of the file of a name."""
        return files(self.package).joinpath(self.folder, f"{name}.yaml").read_text(encoding="utf-8")


def read_tree(source: str | Path, shipped: Shipped) -> dict[str, Any]:
    """Read the keys and values of a YAML file, or of a shipped one by its name.

    Parameters
    ----------
    source : str or Path
        A path, or a name; a file that has the name of a shipped one is read where it is given as `./name`.
    shipped : Shipped
        The files that are known by name.

    Returns
    -------
    dict
        Nested dicts, lists and values; empty for an empty file.

    Raises
    ------
    ConfigError
        Where there is neither a file nor a shipped one, or what is there is not YAML with keys and values.
    """
    with reading(source, "YAML", _refused):
        tree = _parsed(_text(str(source), shipped), str(source))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected keys and values, got {type(tree).__name__}")
    return tree


def _refused(source: object, message: str) -> ConfigError:
    return ConfigError(f"{source}: {message}")


def _parsed(text: str, source: str) -> Any:
    """The values of a YAML text that is neither deep nor, by its aliases, much longer than it looks."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_node(node, source, {}, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}: expected YAML, got a mistake{where}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: expected YAML, got: {error}") from error


def _check_node(node: yaml.Node, source: str, sizes: dict[int, int], above: tuple[int, ...]) -> int:
    """The number of values below a node, each counted as often as aliases repeat it."""
    if id(node) in above:
        raise ConfigError(f"{source}: expected YAML, got a value that contains itself")
    if len(above) > _DEEPEST:
        raise ConfigError(f"{source}: expected at most {_DEEPEST} levels in YAML, got more")
    if id(node) not in sizes:
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = [key for key, count in Counter(keys).items() if count > 1 and key != "<<"]
            if twice:
                line = node.start_mark.line + 1
                raise ConfigError(f"{source}: expected every key once, got {twice[0]!r:.80} twice below line {line}")
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        sizes[id(node)] = 1 + sum(_check_node(part, source, sizes, (*above, id(node))) for part in inner)
    if sizes[id(node)] > _MOST_VALUES:
        raise ConfigError(f"{source}: expected at most {_MOST_VALUES} values in YAML, got more, by its aliases")
    return sizes[id(node)]


def _text(source: str, shipped: Shipped) -> str:
    names = shipped.names()
    if source in names:
        return shipped.text(source)
    require_readable(source, "a YAML file", _refused)
    if Path(source).is_file():
        return read_text(source, "a YAML file", largest=_LARGEST, any_encoding=True, wrapped=_refused)
    near = difflib.get_close_matches(source, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"expected a YAML file or one of the {shipped.what} {', '.join(names)}, got {source!r}{hint}")


def apply_overrides(tree: dict[str, Any], changes: Iterable[str] | Mapping[str, Any]) -> None:
    """Change values of a tree in place.

    Parameters
    ----------
    tree : dict
        As `read_tree` returns it; sections that are missing are made.
    changes : iterable of str, or mapping
        Texts `key=value` with dotted keys and YAML values, such as `dft.cutoff=500` and `data.train=[a.h5, b.h5]`, or
        dotted keys with their values. A number in a key counts elements of a list: `structures.0.atoms`.

    Raises
    ------
    ConfigError
        Where a text has no `=`, a value is not YAML, or a key leads through something that is not a section.
    """
    pairs = changes.items() if isinstance(changes, Mapping) else map(_pair, changes)
    for key, value in pairs:
        *parents, last = key.split(".")
        node: Any = tree
        for parent in parents:
            node = _inside(node, parent, key)
        if isinstance(node, list):
            node[_place(node, last, key)] = value
        else:
            node[last] = value


def _pair(text: str) -> tuple[str, Any]:
    """Split `key=value`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"expected key=value, such as section.key=10, got {text!r}")
    try:
        return key.strip(), _parsed(value, key.strip())
    except (ConfigError, ValueError, RecursionError) as error:
        raise ConfigError(f"expected a YAML value after {key.strip()}=, got {value!r:.200}") from error


def _inside(node: Any, name: str, key: str) -> Any:
    """Return the section or list called `name`, made where there is none."""
    inner = node[_place(node, name, key)] if isinstance(node, list) else node.setdefault(name, {})
    if not isinstance(inner, (dict, list)):
        raise ConfigError(f"expected a section before the dot in {key!r}, but {name!r} is a single value")
    return inner


def _place(node: list[Any], name: str, key: str) -> int:
    """Return the position that a part of a key means in a list."""
    if not name.isdecimal() or int(name) >= len(node):
        raise ConfigError(f"expected a number from 0 to {len(node) - 1} in {key!r}, got {name!r}")
    return int(name)


def rename_keys(tree: dict[str, Any], names: Mapping[str, str], source: str | Path = "configuration") -> None:
    """Move values from the names that keys once had to those they have now, in place.

    Parameters
    ----------
    tree : dict
        As `read_tree` returns it.
    names : mapping of str to str
        Old dotted keys and the new ones.
    source : str or Path
        Where the tree is from, for messages.

    Raises
    ------
    ConfigError
        Where an old key and its new name are both given.
    """
    for old, new in names.items():
        *parents, last = old.split(".")
        node: Any = tree
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            continue
        value = node.pop(last)
        *parents, last = new.split(".")
        target: Any = tree
        for parent in parents:
            target = _inside(target, parent, new)
        if last in target:
            raise ConfigError(f"{source}: expected {new} alone, got {old}, its old name, too")
        target[last] = value


def validated(model: type[AnySection], tree: Mapping[str, Any], source: str | Path) -> AnySection:
    """Return the configuration that a tree holds.

    Parameters
    ----------
    model : subclass of BaseModel
        What the configuration is.
    tree : mapping
        As `read_tree` returns it.
    source : str or Path
        Where the tree is from, for messages.

    Raises
    ------
    ConfigError
        Where a key is unknown (the nearest known one is named) or a value is not possible.
    """
    with reading(source, "a configuration", _refused):
        try:
            return model.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(f"{source}: {explain(error, model)}") from error


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say in one line what pydantic found wrong with a configuration.

    Parameters
    ----------
    error : ValidationError
        What `model.model_validate` raised.
    model : subclass of BaseModel
        What was to be read; its keys are those that are proposed.
    """
    problems = error.errors()
    said = list(dict.fromkeys(_problem(dict(problem), model) for problem in problems[:_MOST_PROBLEMS]))
    return "; ".join([*said, f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else said)


_MOST_PROBLEMS = 20
"""Problems of a configuration that a message has room for."""


def _problem(problem: dict[str, Any], model: type[BaseModel]) -> str:
    place = list(problem["loc"])
    if problem["type"] == "extra_forbidden":
        parents, sections = _path(place[:-1], model)
        return _unknown_key([*parents, str(place[-1])], sections, model)
    key = ".".join(_path(place, model)[0])
    message = problem["msg"].removeprefix("Value error, ")
    got = "" if isinstance(problem["input"], (Mapping, BaseModel)) else f", got {problem['input']!r}"
    return f"{key}{': ' if key else ''}{message}{got}"


def _unknown_key(path: list[str], sections: list[type[BaseModel]], model: type[BaseModel]) -> str:
    """Name the known key that is nearest: beside the unknown one if there is any, else anywhere."""
    key, (*parents, last) = ".".join(path), path
    beside = [name for section in sections for name in section.model_fields]
    everywhere = known_keys(model)
    near = [".".join([*parents, name]) for name in difflib.get_close_matches(last, beside, 1)]
    if not near and key not in everywhere:  # else it is a key of another member of the union
        near = _nearest(key, everywhere)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(beside or everywhere)}"
    return f"unknown key {key!r}; {hint}"


def _nearest(key: str, known: list[str]) -> list[str]:
    """Return keys with the same last part, else those whose last part is spelt alike."""
    last = [name.split(".")[-1] for name in known]
    own = key.split(".")[-1]
    alike = [own] if own in last else difflib.get_close_matches(own, last, 1)
    return [name for name, end in zip(known, last) if end in alike]


def _path(place: list[str | int], model: type[BaseModel]) -> tuple[list[str], list[type[BaseModel]]]:
    """Return the keys that pydantic's place of an error means, and the sections it can be in.

    Pydantic puts the chosen member of a union (`cp2k`, `str`) between the keys; users have not written it.
    """
    keys: list[str] = []
    kinds: list[Any] = [model]
    for part in place:
        sections = [kind for kind in kinds if _is_section(kind)]
        fields = [s.model_fields[part].annotation for s in sections if part in s.model_fields]
        if isinstance(part, int) or any(get_origin(kind) is dict for kind in kinds):
            keys.append(str(part))
            kinds = [inner for kind in kinds if not _is_section(kind) for a in get_args(kind) for inner in _members(a)]
        elif fields:
            keys.append(part)
            kinds = [inner for annotation in fields for inner in _members(annotation)]
        else:
            kinds = [section for section in sections if _has_tag(section, part)] or kinds
    return keys, [kind for kind in kinds if _is_section(kind)]


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _has_tag(section: type[BaseModel], tag: str) -> bool:
    """Whether one of the fields of a section can only be `tag`."""
    fields = section.model_fields.values()
    return any(get_origin(f.annotation) is Literal and get_args(f.annotation) == (tag,) for f in fields)


def _members(annotation: Any) -> Iterator[Any]:
    """Yield what an annotation allows: the members of a union, or itself."""
    arguments = get_args(annotation)
    if isinstance(annotation, type) or get_origin(annotation) in (dict, tuple, list, Literal) or not arguments:
        yield annotation
        return
    for inner in arguments:
        yield from _members(inner)


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return every dotted key of a configuration; elements of lists and dicts are not counted in it."""
    keys: dict[str, None] = {}
    for name, info in model.model_fields.items():
        inner = list(_sections(info.annotation))
        for section in inner:
            keys |= dict.fromkeys(known_keys(section, f"{prefix}{name}."))
        if not inner:
            keys[prefix + name] = None
    return list(keys)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield every section that an annotation names, inside lists and dicts too."""
    if _is_section(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)
