"""A hook of MkDocs: no page of the site may load anything from elsewhere, so that it can be read without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*\bhref=["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses a page that loads something from another place."""
    if found := _LOADED.search(output):
        address = found.group(1) or found.group(2)
        raise PluginError(f"expected a page that loads only files of the site, got {address} in {page.file.src_uri}")
    return output


def on_post_build(config: Any, **_: Any) -> None:
    """The same for style sheets."""
    for sheet in Path(config.site_dir).rglob("*.css"):
        if found := re.search(
            r"(?:@import\s+|url\()[\"']?((?:https?:)?//[^\"')\s]+)", sheet.read_text(errors="replace")
        ):
            raise PluginError(f"expected style sheets without foreign files, got {found.group(1)} in {sheet.name}")
