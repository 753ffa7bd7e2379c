"""Settings: whether the members of a set were computed alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nearsight.checks.duplicates import Entry
from nearsight.checks.subject import Finding, Level
from nearsight.elements import symbol_of
from nearsight.orbitals.basis import SHELL_LETTERS

CHECK = "settings"
GRID = ("CUTOFF", "REL_CUTOFF")
"""Settings of the grid, whose differences are errors."""
TEXT_KEYS = ("method", "functional", "smearing", "dft_plus_u")
"""Keys of the provenance that are compared as text."""
_CODE = re.compile(r"\s*(\S+)(?:\s+v?(\d[\w.]*))?")
_SETTING = re.compile(r"\s*([A-Za-z_][\w/+-]*)\s*[=: ]\s*(.+)")
_POTENTIAL = re.compile(r"(\S+)\s*\((\w+)\)")


def check_settings(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Report each setting that is not the same in all entries that say it."""
    values: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        for key, value in _settings(entry).items():
            values.setdefault(key, {}).setdefault(value, []).append(entry.name)
    for key, groups in values.items():
        if len(groups) > 1:
            yield _finding(key, groups)


def _finding(key: str, groups: dict[str, list[str]]) -> Finding:
    groups = dict(sorted(groups.items(), key=lambda item: -len(item[1])))
    parts = [f"{value} in {_names(names)}" for value, names in groups.items()]
    odd = [name for names in list(groups.values())[1:] for name in names]
    level: Level = "error" if key in GRID or key.startswith(("shells of", "valence of")) else "warning"
    return Finding(
        level,
        CHECK,
        ", ".join(odd),
        f"expected one {key} in the whole set, got {'; '.join(parts)}",
        _meaning(key),
        "Compute all structures with the same settings, or train on those that share them.",
    )


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _meaning(key: str) -> str:
    if key.startswith("shells of"):
        return "Blocks of different sizes or meanings: one network cannot have both."
    if key == "images":
        return "Where H is folded sums are learnt, elsewhere single blocks; both are treated exactly."
    if key == "kept range":
        return "Blocks that were cut off are zero in some structures and not in others."
    return "The same environment has another H in another structure; the difference is noise that cannot be learnt."


def _settings(entry: Entry) -> dict[str, str]:
    """What the entry says about itself, made comparable."""
    said = entry.provenance
    result: dict[str, str] = {}
    for z in entry.structure.elements:
        result[f"shells of {symbol_of(z)}"] = "".join(SHELL_LETTERS[l] for l in entry.basis.shells[z])
        if z in entry.basis.valence:
            result[f"valence of {symbol_of(z)}"] = str(entry.basis.valence[z])
    result["basis"] = entry.basis.name
    result["kept range"] = "all" if entry.cutoff is None else f"{entry.cutoff:g} Å"
    if entry.folded is not None:
        result["images"] = "folded to Γ" if entry.folded else "in real space"
    if code := _CODE.match(said.get("code", "")):
        result["code"] = " ".join(part for part in code.groups() if part)
    for potential, symbol in _POTENTIAL.findall(said.get("potentials", "")):
        result[f"potential of {symbol}"] = potential
    for key in TEXT_KEYS:
        if key in said:
            result[key] = said[key]
    return result | _listed(said.get("settings", ""))


def _listed(text: str) -> dict[str, str]:
    """`CUTOFF 300 Ry, EPS_SCF 1.0E-6; remarks` as {CUTOFF: 300, EPS_SCF: 1e-06}; words that are no setting are left
    out."""
    result = {}
    for part in re.split(r"[,;]", text):
        found = _SETTING.fullmatch(part.strip())
        if found and found[1].isupper():
            result[found[1]] = _number(found[2].strip())
    return result


def _number(text: str) -> str:
    bare = re.sub(r"\s*(Ry|eV|K|Ha|Hartree|\[\w+\])$", "", text)
    try:
        return f"{float(bare):g}"
    except ValueError:
        return text
