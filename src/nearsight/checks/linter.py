"""All checks: of one calculation, of a set, and of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nearsight.checks.completeness import check_completeness
from nearsight.checks.duplicates import Entry, check_duplicates
from nearsight.checks.eigenvalues import check_convergence, check_eigenvalues, check_fermi
from nearsight.checks.geometry import check_bonds, check_geometry, check_ghosts, check_images
from nearsight.checks.hermiticity import check_hermiticity, check_transposition
from nearsight.checks.magnitude import check_magnitude
from nearsight.checks.orbital_order import check_orbital_order
from nearsight.checks.overlap import check_overlap
from nearsight.checks.positions import check_positions
from nearsight.checks.settings import check_settings
from nearsight.checks.subject import Finding, Subject, of_either_spin, sorted_by_level
from nearsight.errors import NearsightError
from nearsight.formats.registry import read_any
from nearsight.formats.wannier90 import ORBITALS, WITHOUT_L
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent


def check_orbitals(subject: Subject) -> Iterator[Finding]:
    """Find functions that have no l, so that H does not turn with the structure."""
    if subject.calculation.provenance.get(ORBITALS) == WITHOUT_L:
        yield subject.finding(
            "error",
            "orbitals",
            "expected orbitals of known l, got Wannier functions that have none (hybrids, or not on atoms)",
            "Levels are right; blocks do not turn with the structure, so that nothing can be learnt from them.",
            "Project on whole shells of atoms (Si:s;p), or learn from the matrices of a code with atomic orbitals.",
        )


CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    check_orbitals,
    check_geometry,
    check_bonds,
    check_ghosts,
    check_magnitude,
    check_hermiticity,
    check_overlap,
    check_orbital_order,
    check_positions,
    check_transposition,
    check_convergence,
    check_eigenvalues,
    check_fermi,
    check_images,
    check_completeness,
)
"""All checks of one calculation, in the order in which they are made."""
Named = tuple[str, Calculation]
"""The name of a calculation for the findings, and the calculation."""


def check_calculation(
    calculation: Calculation, name: str = "calculation", *, cutoff: float = 8.0, quick: bool = False
) -> list[Finding]:
    """Look for what is wrong with one calculation.

    Parameters
    ----------
    calculation : Calculation
        What is checked.
    name : str
        For the findings: the file as the user named it.
    cutoff : float
        Range of the network to be trained, in Å.
    quick : bool
        Whether dense diagonalisations are skipped.

    Returns
    -------
    list of Finding
        Worst first; notes say what could not be checked.
    """
    if calculation.spin_polarised:
        return _of_spins(calculation, name, cutoff, quick)
    subject = Subject(name, calculation, cutoff, quick)
    findings: list[Finding] = []
    if calculation.hamiltonian is None:
        findings.append(
            subject.finding(
                "note",
                "content",
                "the file holds no Hamiltonian",
                "It can be predicted, not learnt.",
                "Nothing, unless it was meant for training.",
            )
        )
    return sorted_by_level(findings + [finding for check in CHECKS for finding in check(subject)])


def _of_spins(calculation: Calculation, name: str, cutoff: float, quick: bool) -> list[Finding]:
    """Either spin as a calculation of its own, whose levels are not filled, for they hold one electron each."""
    found: dict[tuple[str, str], Finding] = {}
    for spin, alone in of_either_spin(calculation):
        for finding in check_calculation(alone, name, cutoff=cutoff, quick=quick):
            key = (finding.check, finding.message)
            found[key] = replace(finding, message=f"{finding.message} (spin {spin})") if key not in found else finding
    return sorted_by_level(list(found.values()))


def check_set(items: Sequence[Named], tests: Sequence[Named] = ()) -> list[Finding]:
    """Look for what is wrong between calculations: structures that occur twice, settings that differ. Always quick.

    Parameters
    ----------
    items : sequence of (str, Calculation)
        Names and calculations of training and validation.
    tests : sequence of (str, Calculation)
        Those held back for testing.

    Returns
    -------
    list of Finding
        Worst first.
    """
    return check_entries([Entry.of(*item) for item in items] + [Entry.of(*item, test=True) for item in tests])


def check_entries(entries: Sequence[Entry]) -> list[Finding]:
    """Do as `check_set` for calculations whose matrices are no longer in memory."""
    return sorted_by_level([*check_duplicates(entries), *check_settings(entries)])


def check_files(
    files: Iterable[Path | Named],
    tests: Iterable[Path | Named] = (),
    *,
    cutoff: float = 8.0,
    quick: bool = False,
    progress: Progress = silent,
) -> list[Finding]:
    """Read, check and forget one file after the other, then compare them. A file that cannot be read is a finding.

    Parameters
    ----------
    files, tests : iterable of pathlib.Path or (str, Calculation)
        For training, and held back for testing: anything `nearsight import` reads, or the name and the calculation of
        what was read already.
    cutoff : float
        Range of the network to be trained, in Å.
    quick : bool
        Whether dense diagonalisations are skipped.
    progress : callable, optional
        Told the name of each file before it is read.

    Returns
    -------
    list of Finding
        Worst first.
    """
    findings: list[Finding] = []
    entries: list[Entry] = []
    items = [(item, False) for item in files] + [(item, True) for item in tests]
    for done, (item, test) in enumerate(items):
        name = str(item) if isinstance(item, Path) else item[0]
        progress(Event(f"checking {name}", done, len(items)))
        try:
            calculation = read_any(item) if isinstance(item, Path) else item[1]
            findings += check_calculation(calculation, name, cutoff=cutoff, quick=quick)
        except (NearsightError, OSError) as error:
            findings.append(_unreadable(name, error))
            continue
        entries.append(Entry.of(name, calculation, test))
    return sorted_by_level(findings + check_entries(entries))


def _unreadable(name: str, error: NearsightError | OSError) -> Finding:
    text = str(error).removeprefix(f"{name}: ")
    return Finding(
        "error",
        "file",
        name,
        text,
        "The file is damaged, incomplete or not what it seems.",
        "Copy or compute it again; the message says what is missing.",
    )
