"""What fine-tuning requires of the data and of the model that it starts from, for any architecture."""

from __future__ import annotations

from collections.abc import Sequence

from nearsight.errors import ConfigError, InputError
from nearsight.nn.model import TrainingTask
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_shell import GaussianShell


def common_basis(calculations: Sequence[Calculation]) -> BasisSet:
    """Return one basis for all elements of several calculations.

    Parameters
    ----------
    calculations : sequence of Calculation
        At least one calculation; the basis takes the name of the first one's.

    Returns
    -------
    BasisSet
        Shells and valences of all elements.

    Raises
    ------
    InputError
        Two calculations have different shells for the same element.
    """
    shells: dict[int, tuple[int, ...]] = {}
    valence: dict[int, int] = {}
    functions: dict[int, tuple[GaussianShell, ...]] = {}
    for calculation in calculations:
        own = calculation.basis.restricted(calculation.structure.numbers)
        for z, ls in own.shells.items():
            if shells.setdefault(z, ls) != ls:
                raise InputError(
                    f"expected one basis in all training structures, got {own.describe()} in "
                    f"{calculation.structure.formula} where another one has l = {shells[z]}"
                )
        valence.update(own.valence)
        functions.update(own.functions)
    overlaps = next((c.basis.overlaps for c in calculations if c.basis.overlaps is not None), None)
    return BasisSet(calculations[0].basis.name, shells, valence, functions, overlaps)


def check_basis(task: TrainingTask, known: BasisSet, basis: BasisSet) -> None:
    """Refuse data in another basis than that of the model that a run starts from.

    Parameters
    ----------
    task : TrainingTask
        The training task, whose `start_from` is named in messages.
    known : BasisSet
        Basis of the model.
    basis : BasisSet
        Basis of the data.

    Raises
    ------
    ConfigError
        A known element has other shells in the data, or no element is known.
    """
    common = [z for z in basis.shells if z in known.shells]
    if not common:
        raise ConfigError(
            f"expected data with elements that the model in {task.start_from} knows ({known.describe()}), got "
            f"{basis.describe()}; train anew without start_from"
        )
    other = [z for z in common if basis.shells[z] != known.shells[z]]
    if other:
        raise ConfigError(
            f"expected the basis of the model in {task.start_from} ({known.restricted(other).describe()}), got "
            f"{basis.restricted(other).describe()} in the data; compute the data in that basis, or train anew without "
            "start_from"
        )
