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
"""Levels around the gap."""


class LevelCheck:
    """Predicts whole structures and compares some levels around the gap; the reference's are computed once.

    Args:
        calculations: with H, S and the valence of every element.
        number: levels, half of them below the gap.

    Raises:
        ConfigError: a structure without H, S or valence.
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
        """Means over the structures, meV: of |error| of the levels, of |error| of the gap."""
        errors, gaps = [], []
        for calculation, reference in zip(self.calculations, self._references):
            predicted = predict_hamiltonian(model, calculation.structure, known=calculation)
            found = self._levels(calculation, predicted)
            errors.append(np.abs(found.eigenvalues - reference.eigenvalues).mean())
            gaps.append(abs(found.gap - reference.gap))
        return {"validation_levels_meV": 1e3 * float(np.mean(errors)), "validation_gap_meV": 1e3 * float(np.mean(gaps))}

    def _levels(self, calculation: Calculation, hamiltonian: BlockOperator) -> Spectrum:
        return solve(hamiltonian, calculation.require_overlap(), calculation.n_electrons, number=self.number)
