"""One real calculation in each format that can be imported."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nearsight.api.exports import export
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.units import HARTREE_IN_EV
from tests.formats import test_amorphous_hamiltonians as amorphous
from tests.formats import test_qh9 as qh9
from tests.formats import test_schnorb as schnorb
from tests.formats.abacus_files import write_run
from tests.formats.aims_files import write_run as write_aims_run
from tests.formats.files import MHFO2
from tests.formats.molecules import water
from tests.formats.siesta_files import write_hsx
from tests.formats.test_molden import write_molden
from tests.formats.test_pyscf_checkpoint import write_checkpoint
from tests.formats.wannier_files import orthonormal

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "data").glob("*.h5"))


def store(folder: Path) -> Calculation:
    """The 96-atom structure that is complete and in double precision."""
    return read_any(ROOT / "data" / "aHfO2_96_A.h5")


def cp2k_gamma(folder: Path) -> Calculation:
    """A run at Γ, binary, upper triangle."""
    return read_any(MHFO2 / "binary_upper")


def cp2k_text(folder: Path) -> Calculation:
    """The same, text, whole matrices."""
    return read_any(MHFO2 / "text_full")


def cp2k_images(folder: Path) -> Calculation:
    """A run with one matrix per cell vector."""
    with zipfile.ZipFile(ROOT / "tests" / "data" / "cp2k_images.zip") as archive:
        archive.extractall(folder)
    return read_any(folder / "gamma")


def amorphous_hamiltonians(folder: Path) -> Calculation:
    """The run at Γ as the public data would hold it."""
    run = read_any(MHFO2 / "text_upper")
    amorphous.write_xyz(folder / "structure.xyz", run.structure, "Cell: 5.117, 5.175, 5.22264237")
    for name, short in ((amorphous.H_NAME, "H.csr"), (amorphous.S_NAME, "S.csr")):
        shutil.copy(MHFO2 / "text_upper" / name, folder / short)
    return read_any(folder, cell=run.structure.cell)


def npz(folder: Path) -> Calculation:
    """The 96-atom structure as an archive."""
    c = store(folder)
    sizes = c.basis.sizes(c.structure.numbers)
    keys = {
        "numbers": c.structure.numbers,
        "positions_ang": c.structure.positions,
        "cell_ang": c.structure.cell,
        "norb": sizes,
        "orb_offset": c.basis.offsets(c.structure.numbers),
        "mo_eig_ha": np.asarray(c.eigenvalues) / HARTREE_IN_EV,
        "energy_ha": np.array((c.energy or 0) / HARTREE_IN_EV),
    }
    for letter, operator, unit in (("H", c.require_hamiltonian(), HARTREE_IN_EV), ("S", c.require_overlap(), 1.0)):
        upper = np.triu(to_csr(operator).toarray()) / unit
        rows, columns = np.nonzero(upper)
        keys |= {
            f"{letter}_row": rows.astype(np.int32),
            f"{letter}_col": columns.astype(np.int32),
            f"{letter}_val": upper[rows, columns],
        }
    np.savez(folder / "a.npz", **keys)
    return read_any(folder / "a.npz")


def schnorb_db(folder: Path) -> Calculation:
    """Water in a database of SchNOrb, matrices of PySCF."""
    return read_any(schnorb.write(folder / "water.db", schnorb.raw(schnorb.arrays_of(water()))))


def qh9_db(folder: Path) -> Calculation:
    """Water in a database of QH9."""
    return read_any(qh9.write(folder / "qh9.db", qh9.STABLE, qh9.row()))


def exported(layout: str) -> Callable[[Path], Calculation]:
    """Silicon as another program would have it."""

    def make(folder: Path) -> Calculation:
        export(ROOT / "data" / "silicon_2.h5", folder / "x", layout)
        return read_any(folder / "x")

    return make


def abacus(folder: Path) -> Calculation:
    """Silicon as a run of ABACUS."""
    write_run(folder, read_calculation(ROOT / "data" / "silicon_2.h5"))
    return read_any(folder)


def siesta(folder: Path) -> Calculation:
    """Silicon as a run of SIESTA."""
    return read_any(write_hsx(folder / "si.HSX", read_calculation(ROOT / "data" / "silicon_2.h5")))


def fhi_aims(folder: Path) -> Calculation:
    """Silicon as a run of FHI-aims."""
    return read_any(write_aims_run(folder / "run", read_calculation(ROOT / "data" / "silicon_2.h5")))


def wannier90(folder: Path) -> Calculation:
    """Silicon's H of a basis that is taken for orthonormal."""
    export(orthonormal(read_calculation(ROOT / "data" / "silicon_2.h5")), folder / "x", "wannier90")
    return read_any(folder / "x", basis={"Si": "2s2p1d"})


def pyscf_chk(folder: Path) -> Calculation:
    """Water by PySCF."""
    write_checkpoint(folder / "water.chk")
    return read_any(folder / "water.chk")


def molden(folder: Path) -> Calculation:
    """The same as a Molden file."""
    write_molden(folder / "water.molden")
    return read_any(folder / "water.molden")


def shipped(path: Path) -> Callable[[Path], Calculation]:
    """A file of data/."""
    return lambda folder: read_calculation(path)


SOURCES: dict[str, Callable[[Path], Calculation]] = {
    "store": store,
    "cp2k at Γ": cp2k_gamma,
    "cp2k text": cp2k_text,
    "cp2k images": cp2k_images,
    "amorphous hamiltonians": amorphous_hamiltonians,
    "npz": npz,
    "schnorb": schnorb_db,
    "qh9": qh9_db,
    "deepx": exported("deepx"),
    "deeph": exported("deeph"),
    "dftio": exported("dftio"),
    "abacus": abacus,
    "siesta": siesta,
    "pyscf checkpoint": pyscf_chk,
    "Molden": molden,
    "wannier90": wannier90,
    "fhi-aims": fhi_aims,
    **{path.name: shipped(path) for path in SHIPPED if path.name != "aHfO2_96_A.h5"},
}
N_VARIANTS = 2 + len(SHIPPED) - 1
"""Sources that are further examples of a format: CP2K as text and with images, shipped stores."""
