"""Keys and values from a YAML file or a shipped one by its name, and what is wrong with them in one line."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nearsight.errors import ConfigError


def shipped(folder: str) -> tuple[str, ...]:
    """Names of the YAML files in a folder of this package."""
    found = files("nearsight.recipes").joinpath(folder)
    return tuple(sorted(p.name.removesuffix(".yaml") for p in found.iterdir() if p.name.endswith(".yaml")))


def read_yaml(source: str, folder: str, what: str) -> dict[str, Any]:
    """The tree of a file, or of the shipped file of that name.

    Args:
        source: path or name.
        folder: of this package, with the shipped ones.
        what: their name in messages, such as `campaigns`.

    Raises:
        ConfigError: neither a file nor a name, or no YAML with keys and values.
    """
    if Path(source).is_file():
        text = Path(source).read_text()
    elif source in shipped(folder):
        text = files("nearsight.recipes").joinpath(folder, f"{source}.yaml").read_text()
    else:
        raise ConfigError(f"expected a YAML file or one of the {what} {', '.join(shipped(folder))}, got {source!r}")
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: expected YAML, got: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected keys and values, got {type(tree).__name__}")
    return tree


def explain(error: ValidationError) -> str:
    """The first fault that pydantic found, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    got = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    return f"{where + ': ' if where else ''}{first['msg']}{got}"
