"""The half of a Hermitian operator determines the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from nearsight.operators.blocks import is_on_site
from nearsight.operators.symmetry import in_half, whole_of_half
from tests.random_cases import operators


@pytest.mark.exact
@given(operators())
def test_half_gives_back_the_whole_to_the_last_bit(operator):
    kept = in_half(operator.source, operator.target, operator.shift)
    whole = whole_of_half(operator.select(kept))
    for name in ("source", "target", "shift", "values"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(operator, name))


@given(operators())
def test_every_pair_or_its_reverse_is_in_the_half(operator):
    kept = in_half(operator.source, operator.target, operator.shift)
    alone = is_on_site(operator.source, operator.target, operator.shift)
    np.testing.assert_array_equal(alone, operator.on_site)
    np.testing.assert_array_equal(kept[operator.reverse], ~kept | alone)
