"""nearsight learns the Kohn-Sham Hamiltonian of large disordered structures, and makes it useful.

The names below are the public interface; everything else may move. They are imported when they are first used, so that
`import nearsight` is fast.

Examples
--------
>>> import nearsight as ns
>>> ns.read("data/silicon_2.h5").structure.formula
'Si2'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nearsight.version import __version__

_HOMES = {
    "Calculation": "nearsight.operators.calculation",
    "Calculator": "nearsight.api.calculator",
    "Event": "nearsight.progress",
    "Hamiltonian": "nearsight.api.matrices",
    "Model": "nearsight.api.models",
    "NearsightError": "nearsight.errors",
    "Overlap": "nearsight.api.matrices",
    "StopToken": "nearsight.progress",
    "Structure": "nearsight.structures.structure",
    "as_structure": "nearsight.api.structures",
    "bands": "nearsight.api.spectra",
    "charges": "nearsight.api.spectra",
    "check": "nearsight.api.checking",
    "compare_predictions": "nearsight.api.reports",
    "density_of_states": "nearsight.api.spectra",
    "evaluate": "nearsight.api.spectra",
    "export": "nearsight.api.exports",
    "from_sisl": "nearsight.api.conversions",
    "generate": "nearsight.api.data",
    "import_calculation": "nearsight.api.files",
    "junction": "nearsight.api.transport",
    "load_model": "nearsight.api.models",
    "overlap": "nearsight.api.structures",
    "read": "nearsight.api.files",
    "read_parts": "nearsight.operators.store",
    "reproduce": "nearsight.reproduction.run",
    "spectrum": "nearsight.api.spectra",
    "spin_spectrum": "nearsight.api.spin",
    "start_files": "nearsight.api.starts",
    "states": "nearsight.api.spectra",
    "to_ase_bands": "nearsight.api.conversions",
    "to_pyscf": "nearsight.api.conversions",
    "to_sisl": "nearsight.api.conversions",
    "total_energy": "nearsight.api.starts",
    "train": "nearsight.api.models",
    "transport": "nearsight.api.transport",
    "view": "nearsight.api.view",
    "write": "nearsight.api.files",
    "write_report": "nearsight.api.reports",
}
"""Public name → module that it comes from."""

if TYPE_CHECKING:
    from nearsight.api.calculator import Calculator
    from nearsight.api.checking import check
    from nearsight.api.conversions import from_sisl, to_ase_bands, to_pyscf, to_sisl
    from nearsight.api.data import generate
    from nearsight.api.exports import export
    from nearsight.api.files import import_calculation, read, write
    from nearsight.api.matrices import Hamiltonian, Overlap
    from nearsight.api.models import Model, load_model, train
    from nearsight.api.reports import compare_predictions, write_report
    from nearsight.api.spectra import bands, charges, density_of_states, evaluate, spectrum, states
    from nearsight.api.spin import spin_spectrum
    from nearsight.api.starts import start_files, total_energy
    from nearsight.api.structures import as_structure, overlap
    from nearsight.api.transport import junction, transport
    from nearsight.api.view import view
    from nearsight.errors import NearsightError
    from nearsight.operators.calculation import Calculation
    from nearsight.operators.store import read_parts
    from nearsight.progress import Event, StopToken
    from nearsight.reproduction.run import reproduce
    from nearsight.structures.structure import Structure

__all__ = [
    "Calculation",
    "Calculator",
    "Event",
    "Hamiltonian",
    "Model",
    "NearsightError",
    "Overlap",
    "StopToken",
    "Structure",
    "__version__",
    "as_structure",
    "bands",
    "charges",
    "check",
    "compare_predictions",
    "density_of_states",
    "evaluate",
    "export",
    "from_sisl",
    "generate",
    "import_calculation",
    "junction",
    "load_model",
    "overlap",
    "read",
    "read_parts",
    "reproduce",
    "spectrum",
    "spin_spectrum",
    "start_files",
    "states",
    "to_ase_bands",
    "to_pyscf",
    "to_sisl",
    "total_energy",
    "train",
    "transport",
    "view",
    "write",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nearsight' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
