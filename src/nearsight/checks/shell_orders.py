"""ShellOrder: another order or other signs of a shell's functions, and the search for the one that mends a matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np

from nearsight.checks.two_centre import ShellOverlaps
from nearsight.orbitals.basis import SHELL_LETTERS
from nearsight.orbitals.conventions import ORCA, PYSCF

LABELS = {1: ("y", "z", "x"), 2: ("xy", "yz", "z²", "xz", "x²−y²")}
HIGHEST_SEARCHED = 3
"""All orders and signs are tried up to this l; beyond it there are too many, and only those of known codes are."""


@dataclass(frozen=True)
class ShellOrder:
    """Where our functions m = −l … l are in a file's shell, and with which sign.

    Attributes:
        l: angular momentum.
        where: (2l+1) position in the file's shell.
        sign: (2l+1) ±1.
        code: whose order it is, or empty.
    """

    l: int
    where: tuple[int, ...]
    sign: tuple[int, ...]
    code: str = ""

    def alignment(self, overlaps: ShellOverlaps) -> float:
        """Share of the integrals that is as it must be if the file's order is this one."""
        return overlaps.alignment(np.array(self.where), np.array(self.sign))

    def describe(self) -> str:
        """Such as `p in the order x, y, z (as in PySCF)`."""
        letter, labels = SHELL_LETTERS[self.l], labels_of(self.l)
        minus = [labels[m] for m in range(len(labels)) if self.sign[m] < 0]
        parts = []
        if self.where != tuple(range(2 * self.l + 1)):
            listed = [labels[m] for m in np.argsort(self.where)]
            parts.append(f"{letter} in the order {', '.join(listed)}")
        if minus:
            parts.append(f"the opposite sign of {', '.join(f'{letter}({label})' for label in minus)}")
        text = " with ".join(parts) or f"{letter} as it should be"
        return text + (f" (as in {self.code})" if self.code else "")


def labels_of(l: int) -> tuple[str, ...]:
    """What our functions of a shell are called, in our order."""
    return LABELS.get(l, tuple(f"m={m}" for m in range(-l, l + 1)))


def our_order(l: int) -> ShellOrder:
    """m = −l … l, no sign changed."""
    return ShellOrder(l, tuple(range(2 * l + 1)), (1,) * (2 * l + 1))


def known_orders(l: int) -> Iterator[ShellOrder]:
    """Of other codes, and ours with the sign of one function or of all odd m (Condon–Shortley) changed."""
    ours = our_order(l)
    for convention in (PYSCF, ORCA):
        if l in convention.order:
            where, sign = convention.shell(l)
            yield ShellOrder(l, tuple(where.tolist()), tuple(sign.tolist()), convention.name)
    for m in range(2 * l + 1):
        yield ShellOrder(l, ours.where, tuple(-1 if k == m else 1 for k in range(2 * l + 1)))
    yield ShellOrder(l, ours.where, tuple(-1 if (k - l) % 2 else 1 for k in range(2 * l + 1)))


def best_order(overlaps: ShellOverlaps, margin: float) -> ShellOrder:
    """The order that fits best; a known one where it fits within `margin` as well as any."""
    l = overlaps.l
    candidates = [our_order(l), *known_orders(l)]
    if l <= HIGHEST_SEARCHED:
        candidates.append(_searched(overlaps))
    scores = [order.alignment(overlaps) for order in candidates]
    return next(order for order, score in zip(candidates, scores) if score >= max(scores) - margin)


def _searched(overlaps: ShellOverlaps) -> ShellOrder:
    """The best of all orders and signs."""
    orders, signs = _all_orders(overlaps.l)
    size = 2 * overlaps.l + 1
    m = np.arange(size)
    picked = overlaps.moments[orders[:, :, None], orders[:, None, :], m[:, None], m[None, :]]
    scores = picked.reshape(len(orders), -1) @ np.einsum("ka,kb->abk", signs, signs).reshape(size * size, -1)
    order, sign = np.unravel_index(int(np.argmax(scores)), scores.shape)
    chosen = signs[sign] if (signs[sign] < 0).sum() <= size // 2 else -signs[sign]
    return ShellOrder(overlaps.l, tuple(orders[order].tolist()), tuple(chosen.tolist()))


@cache
def _all_orders(l: int) -> tuple[np.ndarray, np.ndarray]:
    """((2l+1)!, 2l+1) orders and (2^2l, 2l+1) signs; the sign of the whole shell is left out."""
    size = 2 * l + 1
    signs = [(1, *rest) for rest in product((1, -1), repeat=size - 1)]
    return np.array(list(permutations(range(size)))), np.array(signs)
