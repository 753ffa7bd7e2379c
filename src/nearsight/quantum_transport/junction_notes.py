"""What should be known of a junction: how leads fit, what was left out, what is doubtful."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.quantum_transport.junction import Junction
from nearsight.quantum_transport.periodic_lead import LeadOperators

DOUBTFUL_SHIFT = 1.0
"""eV, of an energy reference above which it is doubtful that bulk and device are the same material."""
DOUBTFUL_BLOCKS = 0.5
"""eV, by which an on-site block may differ from the bulk's; more is another element, basis or unit."""
MISMATCH = 0.05
"""eV, by which Fermi levels of leads of one material, or two layers of a lead, may differ in equilibrium."""


def junction_notes(built: Junction) -> tuple[str, ...]:
    """Return what should be known of a junction, a line each; what is doubtful begins with "warning:".

    Parameters
    ----------
    built : Junction
        Any junction.
    """
    layers, left, right = np.diff(built.layers), built.left, built.right
    notes = [
        f"{built.structure.formula}: {layers.sum()} functions in {len(layers)} layers of {layers.min()}–{layers.max()}",
        f"leads: {left.thickness:.2f} Å ({len(left.atoms)} atoms), {right.thickness:.2f} Å ({len(right.atoms)})",
        f"left out: couplings up to {max(built.neglected, left.neglected, right.neglected):.1e} (eV or 1)",
    ]
    for lead, match in ((left, built.left_match), (right, built.right_match)):
        if match is not None:
            notes.append(
                f"{lead.side} lead raised by {match.value:+.4f} eV to the device's zero of energy (atoms differ by "
                f"{match.spread:.4f} eV, on-site blocks by up to {match.residual:.3f} eV)"
            )
            if match.is_ambiguous or abs(match.value) > DOUBTFUL_SHIFT or match.residual > DOUBTFUL_BLOCKS:
                notes.append(
                    f"warning: the {lead.side} lead's energy reference is doubtful: is its layer in the device "
                    "bulk-like, and computed as the bulk was?"
                )
        if isinstance(lead, LeadOperators):
            notes += _repetition(lead)
    mismatch = built.fermi_mismatch
    if mismatch is not None and abs(mismatch) > MISMATCH:
        notes.append(f"warning: the leads' Fermi levels differ by {mismatch:+.3f} eV without a bias")
    return tuple(notes)


def _repetition(lead: LeadOperators) -> Iterator[str]:
    found = lead.repeats
    if found is None:
        return
    yield (
        f"{lead.side} lead: the device's next layer is higher by {found.value:+.4f} eV (atoms differ by "
        f"{found.spread:.4f} eV, on-site blocks by up to {found.residual:.3f} eV)"
    )
    if found.is_ambiguous or abs(found.value) > MISMATCH or found.residual > DOUBTFUL_BLOCKS:
        yield (
            f"warning: the {lead.side} lead does not repeat itself: its two layers have other on-site blocks; put more "
            "of the lead at the device's end, away from surfaces and interfaces, or give its bulk"
        )
