"""JSON on stdout: numbers that do not exist (NaN, infinite) become null, which every JSON reader knows."""

from __future__ import annotations

import json
import math
from typing import Any


def as_json(tree: Any) -> str:
    """Indented JSON of nested dicts, lists, numbers and text."""
    return json.dumps(_without_nan(tree), indent=2, allow_nan=False)


def _without_nan(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
