"""Errors of the levels around the gap of whole structures, while a network is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearsight.electronic.eigen import solve
from nearsight.electronic.spectrum import Spectrum
from nearsight.errors import ConfigError, InputError
from nearsight.inference.predict import predict_hamiltonian
from nearsight.nn.model import HamiltonianModel
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation

NUMBER = 40
"""Number of levels around the gap."""


class LevelCheck:
    """A comparison of some levels around the gap of whole structures; the levels of the references are computed once.

    Parameters
    ----------
    calculations : sequence of Calculation
        Calculations with H, S and the valence of every element.
    number : int
        Number of levels, half of them below the gap.

    Raises
    ------
    ConfigError
        A structure has no H, S or valence.
    """

    def __init__(self, calculations: Sequence[Calculation], number: int = NUMBER) -> None:
        self.calculations, self.number = calculations, number
        try:
            self._references = [self._levels(c, c.require_hamiltonian()) for c in calculations]
        except InputError as error:
            raise ConfigError(
                f"expected H, S and valence in every file of data.validation with levels_every: {error}"
            ) from None

    def __call__(self, model: HamiltonianModel) -> dict[str, float]:
        """Predict all structures and compare their levels.

        Parameters
        ----------
        model : HamiltonianModel
            The model under training.

        Returns
        -------
        dict of str to float
            Means over the structures of the mean absolute error of the levels, `validation_levels_meV`, and of the
            absolute error of the gap, `validation_gap_meV`, both in meV.
        """
        errors, gaps = [], []
        for calculation, reference in zip(self.calculations, self._references):
            predicted = predict_hamiltonian(model, calculation.structure, known=calculation)
            found = self._levels(calculation, predicted)
            errors.append(np.abs(found.eigenvalues - reference.eigenvalues).mean())
            gaps.append(abs(found.gap - reference.gap))
        return {"validation_levels_meV": 1e3 * float(np.mean(errors)), "validation_gap_meV": 1e3 * float(np.mean(gaps))}

    def _levels(self, calculation: Calculation, hamiltonian: BlockOperator) -> Spectrum:
        return solve(hamiltonian, calculation.require_overlap(), calculation.n_electrons, number=self.number)
