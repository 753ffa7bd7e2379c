"""The functions of the length of a bond: cubic B-splines and a smooth end."""

from __future__ import annotations

import torch
from torch import Tensor

from nearsight.baselines.radial_functions import cubic_b_splines

SCALE = 3.0
"""Of the splines, so that their squares add up to about one."""

END = 1.0
"""Å before the cutoff on which outputs fall to zero."""


def splines(distance: Tensor, count: int, cutoff: float) -> Tensor:
    """(e, count) cubic B-splines times `SCALE`, uniform in s = count · r / cutoff; number k lives on k − 3 < s < k + 1.

    Inside the cutoff they are those of `baselines.RadialFunctions`.
    """
    s = distance * (count / cutoff)
    interval = s.floor()
    place = interval.long()[:, None] + torch.arange(4, device=distance.device)
    values = distance.new_zeros(len(distance), count + 4)
    parts = torch.stack(cubic_b_splines(s - interval), dim=1)
    return SCALE * values.scatter(1, place.clamp(max=count + 3), parts)[:, :count]


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """(e,) 1, and over the last Å a polynomial with two continuous derivatives down to 0 at the cutoff."""
    end = min(END, cutoff)
    x = ((distance - (cutoff - end)) / end).clamp(0, 1)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2)
