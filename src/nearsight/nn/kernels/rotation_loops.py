"""Rotations of a pair of nodes into the frame of a bond, degree by degree, inlined into the loops over edges.

Called with constants for degree and width, so that the compiler knows the length of every loop.
"""

from __future__ import annotations

from typing import Any

import numba


@numba.njit(inline="always")
def load_pair(first: Any, second: Any, pair: Any, size: int, channels: int) -> None:
    """Both nodes (size, channels) side by side in pair (size, 2·channels)."""
    for k in range(size):
        for c in range(channels):
            pair[k, c] = first[k, c]
        for c in range(channels):
            pair[k, channels + c] = second[k, c]


@numba.njit(inline="always")
def rotate_degree(l: int, at: int, width: int, pair: Any, d: Any, weight: Any, x: Any, place: Any) -> None:
    """Degree l of a pair turned by the matrix that starts at d[at], times weight[l·width …], into the row x."""
    size = 2 * l + 1
    factor = weight[l * width:l * width + width]
    for row in range(size):
        start = place[l * l + row]
        out = x[start:start + width]
        for c in range(width):
            total = d[at + row * size] * pair[l * l, c]
            for k in range(1, size):
                total += d[at + row * size + k] * pair[l * l + k, c]
            out[c] = total * factor[c]


@numba.njit(inline="always")
def turn_back_degree(
    l: int, at: int, width: int, pair: Any, d: Any, weight: Any, dx: Any, place: Any, rows: Any, turned: Any,
    dweight: Any,
) -> None:
    """Gradients of rotate_degree: to the pair (turned) and to its weights; rows (K, width) is scratch."""
    size = 2 * l + 1
    factor, dfactor = weight[l * width:l * width + width], dweight[l * width:l * width + width]
    for row in range(size):
        start = place[l * l + row]
        given = dx[start:start + width]
        for c in range(width):
            rows[l * l + row, c] = given[c]
    for c in range(width):
        dfactor[c] = 0.0
    for k in range(size):
        for c in range(width):
            total = d[at + k] * rows[l * l, c]
            for row in range(1, size):
                total += d[at + row * size + k] * rows[l * l + row, c]
            dfactor[c] += pair[l * l + k, c] * total
            turned[l * l + k, c] = total * factor[c]
