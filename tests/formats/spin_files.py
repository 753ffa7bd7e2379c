"""Spin-polarised calculations, and the files that codes leave of them, made of two runs without spin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nearsight.formats import abacus, fhi_aims
from nearsight.formats.fortran_records import record
from nearsight.operators.calculation import SPINS, Calculation
from tests.formats import abacus_files, aims_files
from tests.formats.samples import levels
from tests.formats.siesta_files import records, write_hsx

I4 = np.int32


def magnet(calculation: Calculation, splitting: float = 0.7) -> Calculation:
    """H as that of spin up, and a different one, higher by eV, as that of spin down; with levels at two k-points."""
    up, s = calculation.require_hamiltonian(), calculation.require_overlap()
    higher = s.on_pairs(up.source, up.target, up.shift)
    down = up.with_values(up.values * 0.97 + splitting * higher.values)
    result = replace(
        calculation,
        hamiltonian=None,
        hamiltonian_up=up,
        hamiltonian_down=down,
        eigenvalues=None,
        k_points=abacus_files.MESH,
        k_eigenvalues=None,
    )
    spins = (result.of_spin(spin) for spin in SPINS)
    both = np.stack([levels(spin, abacus_files.MESH)[:, : abacus_files.LEVELS] for spin in spins])
    return replace(result, k_eigenvalues=both)


def both_spins(calculation: Calculation) -> tuple[Calculation, Calculation]:
    """Each as a run without spin, with the valence."""
    without = replace(calculation, hamiltonian_up=None, hamiltonian_down=None, k_eigenvalues=None)
    levels_of = calculation.k_eigenvalues
    assert levels_of is not None
    operators = (calculation.hamiltonian_up, calculation.hamiltonian_down)
    up, down = (replace(without, hamiltonian=h, k_eigenvalues=own) for h, own in zip(operators, levels_of))
    return up, down


def write_abacus(folder: Path, calculation: Calculation) -> Path:
    """A run of nspin = 2 in the former layout."""
    up, down = both_spins(calculation)
    out = abacus_files.write_run(folder, up)
    (folder / "other").mkdir()
    other = abacus_files.write_run(folder / "other", down)
    (other / abacus.HAMILTONIANS[1]).rename(out / abacus.SECOND_SPIN[1])
    log = out / abacus.LOG
    log.write_text(log.read_text().replace("nspin = 1", "nspin = 2"))
    assert calculation.k_eigenvalues is not None
    text = ""
    for k, (point, rows) in enumerate(zip(abacus_files.MESH, calculation.k_eigenvalues.transpose(1, 2, 0)), 1):
        words = "BAND Spin up Energy(ev) Occupation Spin down Energy(ev) Occupation Kpoint ="
        text += f"{words} {k} ({' '.join(map(str, point))})\n"
        for n, (a, b) in enumerate(rows / abacus.PRINTED_EV, 1):
            text += f"{n} {float(a)!r} 0.5 {float(b)!r} 0.0\n"
        text += "\n\n"
    (out / abacus.LEVELS).write_text(text)
    return out


def write_abacus_present(folder: Path, calculation: Calculation) -> Path:
    """The same in the layout since 3.11."""
    for spin, own in enumerate(both_spins(calculation), 1):
        abacus.write(folder / f"{spin}", own)
        path = folder / f"{spin}" / abacus.HAMILTONIANS[0]
        text = path.read_text().replace(" 1 # number of spin", " 2 # number of spin")
        text = text.replace(" 1 # spin index", f" {spin} # spin index")
        (folder / f"hrs{spin}_nao.csr").write_text(text)
    (folder / "1" / abacus.OVERLAPS[0]).rename(folder / abacus.OVERLAPS[0])
    return folder


def write_siesta(path: Path, calculation: Calculation) -> Path:
    """A .HSX of two spins with .EIG and .KP."""
    files = [write_hsx(path.with_name(f"{k}.HSX"), own) for k, own in enumerate(both_spins(calculation))]
    one, two = ([bytes(part) for part in records(file)] for file in files)
    size = int(np.frombuffer(one[2], I4)[1])
    sizes = np.frombuffer(one[2], I4).copy()
    sizes[2] = 2
    h = len(one) - 2 * size
    parts = [*one[:2], sizes.tobytes(), *one[3 : h + size], *two[h : h + size], *one[h + size :]]
    path.write_bytes(b"".join(record(part) for part in parts))
    for file in files:
        for suffix in (".HSX", ".EIG", ".KP"):
            file.with_suffix(suffix).unlink()
    _write_levels(path, calculation)
    return path


def _write_levels(path: Path, calculation: Calculation) -> None:
    assert calculation.k_eigenvalues is not None
    spare = write_hsx(path.with_name("levels.HSX"), both_spins(calculation)[0])
    spare.with_suffix(".KP").rename(path.with_suffix(".KP"))
    both = np.concatenate(list(calculation.k_eigenvalues), axis=1)
    lines = [spare.with_suffix(".EIG").read_text().splitlines()[0], f"{both.shape[1] // 2} 2 {len(both)}"]
    lines += [f"{n} " + " ".join(map(repr, row)) for n, row in enumerate(both.tolist(), 1)]
    path.with_suffix(".EIG").write_text("\n".join(lines) + "\n")
    for suffix in (".HSX", ".EIG"):
        spare.with_suffix(suffix).unlink()


def write_aims(folder: Path, calculation: Calculation) -> Path:
    """A run of spin collinear."""
    folder.mkdir()
    for k, own in enumerate(both_spins(calculation)):
        run = aims_files.write_run(folder / str(k), own)
        (run / fhi_aims.HAMILTONIAN).rename(folder / fhi_aims.OF_SPINS[k])
    for file in sorted((folder / "0").iterdir()):
        file.rename(folder / file.name)
    return folder
