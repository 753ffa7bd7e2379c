"""A window of levels (being written)."""

from __future__ import annotations

from typing import Any


def solve_window(*args: Any, **kwargs: Any) -> Any:
    """Being written."""
    raise NotImplementedError
