"""`nearsight check`: what is wrong with data before a network learns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from nearsight.api.checking import check
from nearsight.atomic_files import write_text_atomically
from nearsight.checks.subject import LEVELS, Finding
from nearsight.cli.output import check_outputs, json_text
from nearsight.cli.printing import Terminal, echo, say, show, visible
from nearsight.cli.process import tune_process
from nearsight.output_path import JSON

EXAMPLE = """Look for wrong units, orders, signs, damaged or unconverged matrices, leaks between training and test.

Example: nearsight check runs/*.h5 --test held_back_1.h5 --test held_back_2.h5

Exit status: 0 without errors (warnings and notes are no errors), 1 with errors, 2 for wrong usage.
docs/check.md says what each finding means.
"""

STYLES = {"error": "red", "warning": "yellow", "note": "dim"}
EXIT_FOUND = 1


def check_command(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="what `nearsight import` reads")],
    test: Annotated[list[Path] | None, typer.Option("--test", help="held back for testing; once for each")] = None,
    cutoff: Annotated[float, typer.Option("--cutoff", help="range of the network, Å")] = 8.0,
    json: Annotated[Path | None, typer.Option("--json", help="write the findings here too; - for the terminal")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="no diagonalisation")] = False,
) -> None:
    """Check data; the exit status says whether there are errors."""
    tune_process()
    if json != Path("-"):
        check_outputs([(json, JSON)], [*paths, *(test or [])])
    with Terminal(stderr=True).status(Text()) as status:
        findings = check(
            paths,
            tests=test or [],
            cutoff=cutoff,
            quick=quick,
            progress=lambda event: status.update(Text(visible(event.message))),
        )
    text = json_text(as_dict(findings, [*paths, *(test or [])]))
    if json == Path("-"):
        echo(text)
    else:
        if json is not None:
            write_text_atomically(json, text + "\n")
        print_findings(findings, len(paths), len(test or []), Terminal())
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(EXIT_FOUND)


def as_dict(findings: Sequence[Finding], files: Sequence[Path]) -> dict[str, object]:
    """Return the files, the number of findings of each level, and the findings, for machines."""
    counts = Counter(finding.level for finding in findings)
    return {
        "files": [str(path) for path in files],
        "counts": {level: counts[level] for level in LEVELS},
        "findings": [asdict(finding) for finding in findings],
    }


def print_findings(findings: Sequence[Finding], n_files: int, n_tests: int, console: Console) -> None:
    """Print a paragraph for each finding, and a line that sums up."""
    for finding in findings:
        level, file = (finding.level, STYLES[finding.level]), (visible(finding.file), "bold")
        show(console, Text.assemble(level, f" · {finding.check} · ", file), soft_wrap=True)
        for text, style in ((finding.message, ""), (finding.meaning, "dim"), (f"→ {finding.advice}", "italic")):
            show(console, Padding(Text(visible(text), style=style), (0, 0, 0, 4)))
    counts = Counter(finding.level for finding in findings)
    summed = ", ".join(f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS)
    held = f" and {n_tests} for testing" if n_tests else ""
    say(console, f"{n_files} {'file' if n_files == 1 else 'files'}{held}: {summed}")
