"""BaselineSettings: how many functions a baseline has, and how strongly they are held back."""

from __future__ import annotations

from dataclasses import dataclass

from nearsight.errors import InputError


@dataclass(frozen=True)
class BaselineSettings:
    """Sizes and penalties.

    The defaults were chosen on amorphous HfO₂ by leaving structures out.

    Attributes:
        pair_functions: radial functions of each two-centre term.
        pair_bending, pair_ridge: penalties on the bending of the coefficients and on themselves, relative to the mean
            diagonal of the normal equations. Bending carries a term on to distances that no pair had.
        density_functions: radial functions of the neighbour densities.
        strictly_local: no second hop, so that an atom sees nothing beyond the cutoff.
        carried_functions, hop_functions: radial functions of the scalars that a second hop carries, and of the hop.
        scalar_ridge, tensor_ridge: penalties of the on-site terms of degree 0 and above, relative to the variance of
            each feature.
        initial: start from H₀, the Kohn-Sham matrix of superposed atomic densities, which every structure must have.
        initial_pieces: intervals of the functions of distance in the terms of H₀ and S.
        initial_slope, initial_ridge: penalties on the change of these coefficients with distance and on themselves,
            relative to the size of what they multiply.

    Raises:
        InputError: a number or penalty that cannot be.
    """

    pair_functions: int = 40
    pair_bending: float = 1e-6
    pair_ridge: float = 1e-10
    density_functions: int = 14
    strictly_local: bool = False
    carried_functions: int = 5
    hop_functions: int = 4
    scalar_ridge: float = 2e-3
    tensor_ridge: float = 1e-4
    initial: bool = False
    initial_pieces: int = 4
    initial_slope: float = 1e-4
    initial_ridge: float = 1e-5

    def __post_init__(self) -> None:
        counts = (self.pair_functions, self.density_functions, self.carried_functions, self.hop_functions,
                  self.initial_pieces)
        penalties = (self.pair_ridge, self.scalar_ridge, self.tensor_ridge, self.initial_ridge)
        if min(counts) < 1 or min(penalties) <= 0 or min(self.pair_bending, self.initial_slope) < 0:
            raise InputError("expected positive numbers of functions and penalties (pair_bending may be 0), got "
                             f"{self}")
