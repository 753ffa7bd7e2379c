"""The settings of a baseline: how many functions it has, and how strongly their coefficients are penalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nearsight.errors import InputError

_MOST_FUNCTIONS = 10_000


@dataclass(frozen=True)
class BaselineSettings:
    """Sizes and penalties of a baseline.

    The defaults were chosen on amorphous HfO₂ by leave-one-structure-out validation.

    Attributes
    ----------
    pair_functions : int
        Radial functions of each two-centre term.
    pair_bending, pair_ridge : float
        Penalties on the bending of the coefficients and on themselves, relative to the mean diagonal of the normal
        equations. Bending carries a term on to distances that no pair had.
    density_functions : int
        Radial functions of the neighbour densities.
    product_functions : int
        Radial functions of the densities that are multiplied with each other; 0 for no products.
    product_cutoff : float
        Å, of these (the cutoff, if that is shorter).
    strictly_local : bool
        Whether there is no second hop, so that an atom sees nothing beyond the cutoff.
    carried_functions, hop_functions : int
        Radial functions of the scalars that a second hop carries, and of the hop.
    tensor_hops : bool
        Whether there is a second hop for all degrees, not for scalars alone.
    long_range : {"none", "charges"}
        "charges" adds the electrostatic potential and field of predicted charges of all atoms, which need charges to be
        fitted to.
    scalar_ridge, tensor_ridge : float
        Penalties of the on-site terms of degree 0 and above, relative to the variance of each feature in the mean over
        samples times their number. They do not grow with the data.
    reach : float
        Å; penalties grow by a factor of e for every `reach` on the way to what a feature sees.
    product_penalty, long_range_penalty : float
        Penalties of products and of what charges tell, relative to those of densities nearby. Without the latter, long
        range is worse than none after some single structures.
    h0 : bool
        Whether to start from H₀, the Kohn-Sham matrix of superposed atomic densities, which every structure must have.
    h0_pieces : int
        Intervals of the functions of distance in the terms of H₀ and S.
    h0_slope, h0_ridge : float
        Penalties on the change of these coefficients with distance and on themselves, relative to the size of what they
        multiply.

    Raises
    ------
    InputError
        If a number or penalty is out of range.
    """

    pair_functions: int = 40
    pair_bending: float = 1e-6
    pair_ridge: float = 1e-10
    density_functions: int = 14
    product_functions: int = 3
    product_cutoff: float = 5.0
    strictly_local: bool = False
    carried_functions: int = 5
    hop_functions: int = 4
    tensor_hops: bool = True
    long_range: Literal["none", "charges"] = "none"
    scalar_ridge: float = 0.2
    tensor_ridge: float = 0.03
    reach: float = 2.0
    product_penalty: float = 30.0
    long_range_penalty: float = 30.0
    h0: bool = False
    h0_pieces: int = 4
    h0_slope: float = 1e-4
    h0_ridge: float = 1e-5

    def __post_init__(self) -> None:
        counts = (
            self.pair_functions,
            self.density_functions,
            self.carried_functions,
            self.hop_functions,
            self.h0_pieces,
        )
        positive = (
            self.pair_ridge,
            self.scalar_ridge,
            self.tensor_ridge,
            self.h0_ridge,
            self.reach,
            self.product_cutoff,
            self.product_penalty,
            self.long_range_penalty,
        )
        if max(*counts, self.product_functions) > _MOST_FUNCTIONS:
            raise InputError(f"expected at most {_MOST_FUNCTIONS} functions of each kind, got {self}")
        if min(counts) < 1 or min(positive) <= 0 or min(self.pair_bending, self.h0_slope, self.product_functions) < 0:
            raise InputError(
                "expected positive numbers of functions, lengths and penalties (pair_bending, "
                f"h0_slope and product_functions may be 0), got {self}"
            )
        self._check_long_range()

    def _check_long_range(self) -> None:
        if self.long_range not in ("none", "charges"):
            raise InputError(f"expected long_range to be none or charges, got {self.long_range!r}")
        if self.long_range != "none" and (self.strictly_local or self.h0):
            other = "strictly_local" if self.strictly_local else "h0"
            raise InputError(f"expected long_range='none' with {other}, got {self.long_range!r}")
