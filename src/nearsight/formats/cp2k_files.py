"""Which files of a folder belong to one CP2K run, by their content and by the names that CP2K gives to matrices.

`[PROJECT-][FILENAME-]KS_SPIN_1-1_<step>.csr` is H at Γ, `…KS_SPIN_1_R_<n>-1_<step>.csr` H of one image, and S likewise;
`FILENAME =name` in the input means that very name. Inputs and outputs may have any suffix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nearsight.errors import FormatError
from nearsight.formats.cp2k_csr import check_is_matrix
from nearsight.formats.cp2k_input import Cp2kInput, is_input, parse_input
from nearsight.formats.cp2k_output import Cp2kOutput, is_output, read_output
from nearsight.formats.cp2k_trajectory import is_trajectory
from nearsight.formats.options import ReadOptions

_MATRIX = re.compile(
    r"^(?P<run>.*?)-?(?P<kind>KS|S)_SPIN_(?P<spin>\d)(?:_(?P<grid>[RK])_(?P<image>\d+))?(?:-(?P<level>\d+(?:_(?:\d+|l))*))?\.csr$"
)
_OTHERS = (".csr", ".wfn", ".cube", ".h5", ".npz", ".npy", ".db", ".xyz", ".extxyz", ".restart", ".cif", ".gz", ".zip")
"""Suffixes of files that are neither input nor output."""
KS_DOWN = "KS_DOWN"
"""Key of the images of H of spin down."""
SECTIONS = {"KS": "KS_CSR_WRITE", "S": "S_CSR_WRITE"}


@dataclass(frozen=True)
class MatrixName:
    """What the name of a matrix file says.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    run : str
        What comes before: PROJECT, and FILENAME where there is one.
    kind : str
        `KS` or `S`.
    spin : int
        1 or 2.
    grid : str
        `R` for images, `K` for k-points, empty at Γ.
    image : int
        Its number; 0 at Γ.
    step : int
        The step of the run; 0 where the name does not say it.
    says_step : bool
        Whether it does: with COMMON_ITERATION_LEVELS every step overwrites one file, and ADD_LAST SYMBOLIC calls the
        last step `l`.
    """

    path: Path
    run: str
    kind: str
    spin: int
    grid: str
    image: int
    step: int
    says_step: bool = True


@dataclass(frozen=True)
class Cp2kFiles:
    """The files of one step of one run; None where there is none.

    Attributes
    ----------
    folder : pathlib.Path
        Of the matrices.
    hamiltonian, overlap : pathlib.Path or None
        At Γ; no hamiltonian where there is a matrix for each cell vector.
    images : dict of str to dict of int to pathlib.Path
        For KS, S and, of spin down, KS_DOWN: number → file, where there is a matrix for each cell vector.
    input, output, structure : pathlib.Path or None
        CP2K's input and output, and a file with the structure alone.
    step : int or None
        The step in the matrices' names; None where they do not say it.
    given : Cp2kInput or None
        What the input says.
    printed : Cp2kOutput or None
        What the output says.
    second : pathlib.Path or None
        H of spin down at Γ, of which `hamiltonian` is then that of spin up.
    """

    folder: Path
    hamiltonian: Path | None
    overlap: Path | None
    images: dict[str, dict[int, Path]]
    input: Path | None
    output: Path | None
    structure: Path | None
    step: int | None
    given: Cp2kInput | None = None
    printed: Cp2kOutput | None = None
    second: Path | None = None


def matrix_name(path: Path) -> MatrixName | None:
    """Return what the name of a matrix says; None for another name."""
    found = _MATRIX.match(path.name)
    if found is None:
        return None
    level = (found["level"] or "").split("_")
    says_step = len(level) > 1 and "l" not in level
    return MatrixName(
        path,
        found["run"],
        found["kind"],
        int(found["spin"]),
        found["grid"] or "",
        int(found["image"] or 0),
        int(level[1]) if says_step else 0,
        says_step,
    )


def matrices_in(folder: Path) -> list[MatrixName]:
    """Return every matrix of a folder, by name."""
    names = (matrix_name(path) for path in sorted(folder.glob("*_SPIN_*.csr")))
    return [name for name in names if name is not None]


def recognises(path: Path) -> bool:
    """Tell whether a path is the folder of a run, or one of its files."""
    if path.is_dir():
        return any(m.kind == "KS" for m in matrices_in(path)) or has_run(path)
    if not path.is_file() or path.suffix in _OTHERS:
        return path.is_file() and path.suffix == ".csr"
    return is_output(path) or is_input(path) or _is_named_matrix(path)


def has_run(folder: Path) -> bool:
    """Tell whether an output of CP2K, or an input that writes Kohn-Sham matrices, is in a folder."""
    return any(is_output(p) or (is_input(p) and _names_matrix(p)) for p in _texts_in(folder))


def _is_named_matrix(path: Path) -> bool:
    """Whether an input in the folder says that this is the name of a matrix."""
    inputs = _inputs_in(path.parent)
    return any(f"={path.name}" == name for p in inputs for name in _named_matrices(p).values())


def _names_matrix(path: Path) -> bool:
    return "KS" in _named_matrices(path)


def _named_matrices(path: Path) -> dict[str, str]:
    """FILENAME of the sections that write matrices, by KS and S; nothing where the input cannot be read."""
    try:
        given = parse_input(path)
    except FormatError:
        return {}
    names = {kind: given.matrix_file(section) for kind, section in SECTIONS.items()}
    return {kind: name for kind, name in names.items() if name is not None}


def _texts_in(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.suffix.lower() not in _OTHERS and p.is_file()]


def _inputs_in(folder: Path) -> list[Path]:
    return [p for p in _texts_in(folder) if is_input(p)]


def find_files(path: Path, options: ReadOptions) -> Cp2kFiles:
    """Find the files of a run.

    Parameters
    ----------
    path : pathlib.Path
        Its folder, or one of its files.
    options : ReadOptions
        `structure`, `input`, `output`, `overlap` and `step` decide where they are given.

    Returns
    -------
    Cp2kFiles
        The files.

    Raises
    ------
    FormatError
        If a file that is needed is missing, or there are several.
    """
    folder = path if path.is_dir() else path.parent
    is_text = path.is_file() and path.suffix not in _OTHERS
    output = options.output or (path if is_text and is_output(path) else None)
    given = options.input or (path if is_text and output != path and is_input(path) else None)
    source = None if path.is_dir() or path in (output, given) else path
    start = matrix_name(source) if source is not None else None
    held = matrices_in(folder)
    runs = {start.run} if start is not None else {m.run for m in held}
    output = output or _output(folder, runs, given)
    printed = read_output(output) if output is not None else None
    given = given or _input(folder, printed, runs)
    parsed = parse_input(given) if given is not None else None
    if source is not None and start is None:
        files = _by_own_name(source, parsed, options)
    else:
        project = (printed.project if printed else None) or (parsed.project if parsed else None)
        named = is_text or options.output is not None or options.input is not None
        files = _by_name(folder, held, start, project if named else None, parsed, options)
    structure = options.structure or (None if given or (printed and printed.sites) else _structure(files.folder))
    if structure is None and given is None and (printed is None or printed.sites is None):
        raise FormatError(
            folder,
            "expected a CP2K input (.inp) or an xyz beside the matrix, got neither; give CP2K's output or input "
            "(--output-file, --input) or the structure (--structure)",
        )
    return Cp2kFiles(
        files.folder,
        files.hamiltonian,
        options.overlap or files.overlap,
        files.images,
        given,
        output,
        structure,
        files.step,
        parsed,
        printed,
        files.second,
    )


def _by_own_name(source: Path, given: Cp2kInput | None, options: ReadOptions) -> Cp2kFiles:
    """A file with a name that CP2K was told, and S where the input says its name."""
    check_is_matrix(source)
    names = {kind: (given.matrix_file(section) if given else None) for kind, section in SECTIONS.items()}
    if names["S"] == f"={source.name}":
        raise FormatError(source, "expected the Kohn-Sham matrix, got the overlap; give the folder or the other file")
    name = (names["S"] or "").lstrip("=")
    places = [source.parent / name, *([given.path.parent / name] if given else [])]
    found = [place for place in places if (names["S"] or "").startswith("=") and place.is_file()]
    overlap = options.overlap or (found[0] if found else None)
    return Cp2kFiles(source.parent, source, overlap, {}, None, None, None, None)


def _by_name(
    folder: Path,
    held: list[MatrixName],
    start: MatrixName | None,
    project: str | None,
    given: Cp2kInput | None,
    options: ReadOptions,
) -> Cp2kFiles:
    """The matrices that CP2K named itself; those of a project where the user's choice of a file says which it is."""
    if given is not None and not any(m.kind == "KS" for m in held):
        name = given.matrix_file("KS_CSR_WRITE") or ""
        place = given.path.parent / name.lstrip("=")
        if name.startswith("=") and place.is_file():
            return _by_own_name(place, given, options)
        if "/" in name and place.parent.is_dir():
            folder, held = place.parent, matrices_in(place.parent)
    _check_kinds(folder, held, start)
    ks = [m for m in held if m.kind == "KS" and m.grid != "K" and m.spin == 1]
    if not ks:
        raise FormatError(folder, "expected H of both spins, got that of spin 2 without KS_SPIN_1 beside it")
    start = _first_spin(start, ks)
    ks = _one_run(folder, ks, start, project)
    step = _step(folder, ks, start, options)
    ks = [m for m in ks if m.step == step] if start is None or start.grid else [start]
    if len(ks) > 1 and not ks[0].grid:
        names = ", ".join(m.path.name for m in ks)
        raise FormatError(folder, f"expected one Kohn-Sham matrix of step {step}, got several: {names}; give one")
    if ks[0].grid:
        images = _images(folder, held, ks)
        used = [matrix_name(path) for found in images.values() for path in found.values()]
        return Cp2kFiles(folder, None, None, images, None, None, None, _said_step(step, used))
    check_is_matrix(ks[0].path)
    overlap = options.overlap or _overlap(folder, held, ks[0], given)
    used = [ks[0], matrix_name(overlap) if overlap is not None else None]
    of_other = [m.path for m in held if m.kind == "KS" and not m.grid and m.spin == 2 and _same_place(m, ks[0])]
    second = of_other[0] if of_other else None
    return Cp2kFiles(folder, ks[0].path, overlap, {}, None, None, None, _said_step(step, used), second=second)


def _same_place(one: MatrixName, other: MatrixName) -> bool:
    """Whether two matrices are of one step of one run."""
    return (one.run, one.step, one.grid) == (other.run, other.step, other.grid)


def _first_spin(start: MatrixName | None, ks: list[MatrixName]) -> MatrixName | None:
    """The file that was named, or H of spin up of the same step where it is that of spin down."""
    if start is None or start.spin == 1:
        return start
    found = [m for m in ks if _same_place(m, start)]
    if not found:
        raise FormatError(start.path, "expected H of both spins, got that of spin 2 without KS_SPIN_1 beside it")
    return found[0]


def _said_step(step: int, used: list[MatrixName | None]) -> int | None:
    """The step, unless one of the matrices may be of another: H of step 0 and S that every step overwrites."""
    return step if all(m is None or m.says_step for m in used) else None


def _check_kinds(folder: Path, held: list[MatrixName], start: MatrixName | None) -> None:
    if start is not None and start.kind == "S" and not start.grid:
        check_is_matrix(start.path)
        raise FormatError(
            start.path,
            "expected the Kohn-Sham matrix (*-KS_SPIN_1-1_0.csr), got the overlap; give the folder or the other file",
        )
    if any(m.grid == "K" for m in held) and not any(m.grid != "K" and m.kind == "KS" for m in held):
        raise FormatError(
            folder,
            "expected real-space matrices *-KS_SPIN_1_R_<n>-1_0.csr of a run with &KPOINTS, got matrices at k-points "
            "(*_K_<n>-1_0.csr), which are not read; run again with REAL_SPACE T in &KS_CSR_WRITE and &S_CSR_WRITE",
        )
    if not any(m.kind == "KS" for m in held):
        raise FormatError(
            folder,
            "expected a matrix *-KS_SPIN_1-1_0.csr at Γ, or *-KS_SPIN_1_R_<n>-1_0.csr per cell vector, got none; give "
            "the matrix itself where it has another name",
        )


def _one_run(folder: Path, ks: list[MatrixName], start: MatrixName | None, project: str | None) -> list[MatrixName]:
    """H of one run: that of the file, or of the project, or the only one."""
    if start is not None:
        return [m for m in ks if m.grid == start.grid and (m.run == start.run or start.grid)]
    own = [m for m in ks if project is not None and (m.run == project or m.run.startswith(f"{project}-"))]
    ks = own or ks
    if len({m.grid for m in ks}) > 1:
        raise FormatError(
            folder,
            "expected the matrices of one run, got a matrix at Γ and matrices per cell vector; "
            f"give {next(m for m in ks if not m.grid).path.name} itself, or move the others away",
        )
    if len({m.run for m in ks}) > 1 and not ks[0].grid:
        raise FormatError(
            folder,
            f"expected a Kohn-Sham matrix (*-KS_SPIN_1-1_0.csr), got several: "
            f"{', '.join(sorted({m.path.name for m in ks}))}; give the one you mean, or the output of its run",
        )
    return ks


def _step(folder: Path, ks: list[MatrixName], start: MatrixName | None, options: ReadOptions) -> int:
    steps = sorted({m.step for m in ks})
    if start is not None and options.step is None:
        return start.step
    if options.step is None and len(steps) == 1:
        return steps[0]
    if options.step == "last":
        return steps[-1]
    if options.step is not None and str(options.step).isdigit() and int(options.step) in steps:
        return int(options.step)
    listed = ", ".join(map(str, steps)) if len(steps) < 12 else f"{steps[0]} to {steps[-1]}"
    raise FormatError(
        folder,
        f"expected the matrices of one step, got those of steps {listed}; say which: --step {steps[0]}, --step last "
        "or --step all"
        if options.step is None
        else f"expected a step among {listed} or `last`, got {options.step!r}",
    )


def steps_in(path: Path, options: ReadOptions) -> tuple[int, ...]:
    """Return the steps of which a folder (or a file's folder) holds H.

    Parameters
    ----------
    path : pathlib.Path
        The source.
    options : ReadOptions
        As in `find_files`.

    Returns
    -------
    tuple of int
        Ascending; one where the source is not a run of CP2K with several steps.
    """
    last = find_files(path, _with_last(options))
    folder = last.folder
    first = last.hamiltonian or next(iter(last.images.get("KS", {}).values()), None)
    own = matrix_name(first) if first is not None else None
    if own is None:
        return (0,)
    return tuple(sorted({m.step for m in matrices_in(folder) if (m.run, m.kind, m.grid) == (own.run, "KS", own.grid)}))


def _with_last(options: ReadOptions) -> ReadOptions:
    from dataclasses import replace

    return replace(options, step="last")


def _images(folder: Path, held: list[MatrixName], ks: list[MatrixName]) -> dict[str, dict[int, Path]]:
    """The file of every image; two of one image are of two runs."""
    step = ks[0].step
    result: dict[str, dict[int, Path]] = {}
    others = [m for m in held if m.grid == "R" and m.step == step and (m.kind, m.spin) in (("S", 1), ("KS", 2))]
    for m in [*ks, *others]:
        found = result.setdefault(KS_DOWN if m.spin == 2 else m.kind, {})
        if m.image in found:
            raise FormatError(
                folder,
                f"expected one file of image {m.image}, got {found[m.image].name} and {m.path.name}: "
                "are two runs in one folder?",
            )
        found[m.image] = m.path
    if "S" not in result and any(m.kind == "S" and m.grid == "R" for m in held):
        raise _other_step(folder, held, step)
    return result


def _overlap(folder: Path, held: list[MatrixName], ks: MatrixName, given: Cp2kInput | None) -> Path | None:
    """S of the same step and run: by H's name with S for KS, else the only one."""
    every = [m for m in held if m.kind == "S" and not m.grid and m.spin == 1]  # others are derivatives
    found = [m for m in every if m.step == ks.step]
    if every and not found:
        raise _other_step(folder, every, ks.step)
    named = given.matrix_file("S_CSR_WRITE") if given else None
    told = given.path.parent / (named or "").lstrip("=") if given else folder
    if not found and (named or "").startswith("=") and told.is_file():
        return told
    same = [m for m in found if m.run == ks.run] or [m for m in found if _same_run(m.run, ks.run)]
    chosen = same or found
    if len(chosen) > 1:
        raise FormatError(
            folder,
            f"expected an overlap matrix (*-S_SPIN_1-1_{ks.step}.csr), got several: "
            f"{', '.join(m.path.name for m in chosen)}; give the one you mean (--overlap)",
        )
    return chosen[0].path if chosen else None


def _same_run(overlap: str, hamiltonian: str) -> bool:
    """Whether both names begin with one PROJECT: they differ in what follows the last hyphen."""
    return overlap.rpartition("-")[0] == hamiltonian.rpartition("-")[0]


def _other_step(folder: Path, held: Iterable[MatrixName], step: int) -> FormatError:
    others = ", ".join(map(str, sorted({m.step for m in held if m.kind == "S"})))
    return FormatError(
        folder,
        f"expected H and S of one step, got H of step {step} and S of {others}; S changes with the positions: copy "
        "that of this step, or give it (--overlap)",
    )


def _structure(folder: Path) -> Path | None:
    for pattern in ("*.xyz", "*.extxyz"):
        found = [p for p in sorted(folder.glob(pattern)) if not is_trajectory(p)]
        if len(found) > 1:
            raise FormatError(
                folder,
                f"expected a structure ({pattern}), got several: {', '.join(p.name for p in found)}; "
                "give the one you mean (--structure)",
            )
        if found:
            return found[0]
    return None


def _output(folder: Path, runs: set[str], given: Path | None) -> Path | None:
    """The only output, or the only one of the input, or whose PROJECT is that of the matrices."""
    found = [p for p in _texts_in(folder) if is_output(p)]
    if len(found) > 1 and given is not None:
        found = [p for p in found if Path(read_output(p).input_name or "").name == given.name] or found
    if len(found) > 1:
        projects = {p: read_output(p).project for p in found}
        own = [p for p in found if any(r == projects[p] or r.startswith(f"{projects[p]}-") for r in runs)]
        found = own or found
    if len(found) > 1:
        raise FormatError(
            folder,
            f"expected one output of CP2K, got several: {', '.join(p.name for p in found)}; "
            "give the one you mean (--output-file)",
        )
    return found[0] if found else None


def _input(folder: Path, printed: Cp2kOutput | None, runs: set[str]) -> Path | None:
    """The one that the output names, the only one, or the only one that writes these matrices."""
    found = _inputs_in(folder)
    if printed is not None and printed.input_name is not None:
        named = [p for p in found if p.name == Path(printed.input_name).name]
        found = named or (found if len(found) == 1 else [])
        return found[0] if found else None
    if len(found) > 1:
        parsed = {p: _named_matrices(p) for p in found}
        projects = {p: parse_input(p).project for p in found if parsed[p]}
        own = [p for p in projects if any(r == projects[p] or r.startswith(f"{projects[p]}-") for r in runs)]
        found = own or found
    if len(found) > 1:
        raise FormatError(
            folder,
            f"expected one input of CP2K, got several: {', '.join(p.name for p in found)}; "
            "give the one that was run (--input), or its output (--output-file)",
        )
    return found[0] if found else None
