"""Orbital order: order and signs of the orbitals of S and H, against what two-centre integrals must look like.

A `ShellOrder` is another order or other signs of a shell's functions; the one that mends a matrix is searched for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np

from nearsight.checks.subject import Finding, Subject
from nearsight.checks.two_centre import ShellOverlaps, shell_overlaps, single_bonds
from nearsight.elements import symbol_of
from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.basis import SHELL_LETTERS
from nearsight.orbitals.conventions import ORCA, PYSCF

LABELS = {1: ("y", "z", "x"), 2: ("xy", "yz", "z²", "xz", "x²−y²")}
"""Names of our functions of a shell, in our order, by angular momentum."""
HIGHEST_SEARCHED = 3
"""Largest l for which all orders and signs are tried; beyond it there are too many, and only those of known codes are.
"""


@dataclass(frozen=True)
class ShellOrder:
    """Where our functions m = −l … l are in a file's shell, and with which sign.

    Attributes
    ----------
    l : int
        Angular momentum.
    where : tuple of int
        Position of each of the 2l + 1 functions in the file's shell.
    sign : tuple of int
        ±1 for each of them.
    code : str
        Whose order it is, or empty.
    """

    l: int
    where: tuple[int, ...]
    sign: tuple[int, ...]
    code: str = ""

    def alignment(self, overlaps: ShellOverlaps) -> float:
        """Return the share of the integrals that is as it must be if the file's order is this one."""
        return overlaps.alignment(np.array(self.where), np.array(self.sign))

    def describe(self) -> str:
        """Return words such as ``p in the order x, y, z (as in PySCF)``."""
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
    """Return what our functions of a shell are called, in our order."""
    return LABELS.get(l, tuple(f"m={m}" for m in range(-l, l + 1)))


def our_order(l: int) -> ShellOrder:
    """Return our own order, m = −l … l, with no sign changed."""
    return ShellOrder(l, tuple(range(2 * l + 1)), (1,) * (2 * l + 1))


def known_orders(l: int) -> Iterator[ShellOrder]:
    """Yield the orders of other codes, and ours with the sign of one function or of all odd m (Condon–Shortley)
    changed.
    """
    ours = our_order(l)
    for convention in (PYSCF, ORCA):
        if l in convention.order:
            where, sign = convention.shell(l)
            yield ShellOrder(l, tuple(where.tolist()), tuple(sign.tolist()), convention.name)
    for m in range(2 * l + 1):
        yield ShellOrder(l, ours.where, tuple(-1 if k == m else 1 for k in range(2 * l + 1)))
    yield ShellOrder(l, ours.where, tuple(-1 if (k - l) % 2 else 1 for k in range(2 * l + 1)))


def best_order(overlaps: ShellOverlaps, margin: float) -> ShellOrder:
    """Find the order that fits best; a known one where it fits within `margin` as well as any."""
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


CHECK = "orbital order"
MISALIGNED = {"S": 0.02, "H": 0.25}
"""Share of a shell's integrals that may be in a wrong direction. In good data it is below 1e-4 in S and 1e-2 in H; a
wrong order or sign makes it 0.3 or more.
"""
MARGIN = {"S": 1e-3, "H": 0.05}
"""How much better an unusual order must fit than that of a known code."""


Key = tuple[int, int, int]
"""Atomic number, l, and which of the element's shells."""
Orders = dict[Key, ShellOrder | None]
"""The order of each shell in a matrix; None where none fits."""


def check_orbital_order(subject: Subject) -> Iterator[Finding]:
    """Check the shells with l ≥ 1 of S and H."""
    if subject.coincidence:
        return
    orders: dict[str, Orders] = {}
    for name, operator in (("S", subject.overlap), ("H", subject.hamiltonian)):
        if operator is not None:
            orders[name] = _orders(subject, name, operator)
    yield from _unexpected(subject, orders)
    yield from _unknown(subject, orders)
    yield from _unchecked(subject, orders)


def _orders(subject: Subject, name: str, operator: BlockOperator) -> Orders:
    bonds = single_bonds(subject.calculation.structure, operator)
    return {(s.number, s.l, s.shell): _order_of(s, name) for s in shell_overlaps(operator, bonds)}


def _unexpected(subject: Subject, orders: dict[str, Orders]) -> Iterator[Finding]:
    """One finding for each order that is not ours."""
    groups: dict[tuple[ShellOrder, str], list[Key]] = {}
    for key in sorted({key for found in orders.values() for key in found}):
        seen: dict[ShellOrder, list[str]] = {}
        for name, found in orders.items():
            order = found.get(key)
            if order is not None and order != our_order(key[1]):
                seen.setdefault(order, []).append(name)
        for order_found, where in seen.items():
            groups.setdefault((order_found, " and ".join(where)), []).append(key)
    for (order, names), keys in groups.items():
        both = len(orders) == 2 and " and " not in names
        yield subject.finding(
            "error",
            CHECK,
            f"expected {SHELL_LETTERS[order.l]} of {_elements(keys)} in the order {_ours(order.l)} in {names}, got "
            f"{order.describe()}",
            "The blocks do not turn with the structure as the network assumes, so nothing can be learnt of these "
            "shells." + (" H and S do not agree with each other." if both else ""),
            "Put the functions into the order of docs/conventions.md before import (import the code's own files, "
            "which does it), and compare the eigenvalues with the code's.",
        )


def _unknown(subject: Subject, orders: dict[str, Orders]) -> Iterator[Finding]:
    """Shells of S that no order mends, and H where none of its shells fits."""
    for name, found in orders.items():
        bad = [key for key, order in found.items() if order is None]
        if not bad or (name == "H" and len(bad) < len(found)):
            continue
        yield subject.finding(
            "error",
            CHECK,
            f"expected overlaps with s functions that point along the bonds in {name}, got others for the shells "
            f"{', '.join(dict.fromkeys(f'{SHELL_LETTERS[l]} of {symbol_of(z)}' for z, l, _ in bad))}, in no known "
            "order of their functions",
            "The matrix does not belong to these positions: atoms in another order, shells of an atom in another "
            "order (s p s d for s s p d), another basis, or another structure.",
            "Compare the order of atoms and shells with the input of the run that wrote the matrix.",
        )


def _unchecked(subject: Subject, orders: dict[str, Orders]) -> Iterator[Finding]:
    basis = subject.calculation.basis
    wanted = {(z, l, k) for z in subject.calculation.structure.elements for k, l in enumerate(basis.shells[z]) if l > 0}
    missing = wanted - set(orders["S" if "S" in orders else "H"] if orders else wanted)
    if missing:
        shells = dict.fromkeys(f"{SHELL_LETTERS[l]} of {symbol_of(z)}" for z, l, _ in sorted(missing))
        yield subject.finding(
            "note",
            CHECK,
            f"not checked: the order and the signs of {', '.join(shells)}",
            "No near pair of atoms stands alone there: the cell is so small that several images are in one block, or "
            "the atoms are far apart.",
            "Where the source is new to you, check a larger cell or real-space data.",
        )


def _elements(keys: list[Key]) -> str:
    return ", ".join(dict.fromkeys(symbol_of(z) for z, _, _ in keys))


def _ours(l: int) -> str:
    return ", ".join(labels_of(l))


def _order_of(shell: ShellOverlaps, name: str) -> ShellOrder | None:
    ours = our_order(shell.l)
    if 1 - ours.alignment(shell) <= MISALIGNED[name]:
        return ours
    best = best_order(shell, MARGIN[name])
    return best if 1 - best.alignment(shell) <= MISALIGNED[name] else None
