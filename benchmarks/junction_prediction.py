"""Currents through metal-oxide junctions with vacancies: from predicted Hamiltonians beside those from DFT.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/junction_prediction.py lead.h5 \
        none=dft.h5,plain.h5,consistent.h5 filament=dft.h5,plain.h5,consistent.h5 --figure junctions.png

Frozen protocol: Al(001) | a-HfO2 | Al(001), 96 + 60 atoms, k⊥ = Γ; leads from the bulk in lead.h5, matched through S
to each matrix by itself; T at 41 energies within 0.6 eV of the left lead's Fermi level, H as it is without a bias;
currents at 300 K. The first file of a device is the reference. Errors of H are means of |H − H_DFT − μ S| over elements
of blocks at Γ, on site and between atoms, μ from the on-site blocks.
"""

from __future__ import annotations

import argparse

import numpy as np
from matplotlib.figure import Figure

import nearsight as ns
from nearsight.operators.bloch import fold
from nearsight.operators.calculation import Calculation
from nearsight.quantum_transport.axial import on_common_pairs
from nearsight.quantum_transport.result import Transmission
from nearsight.report.material_figures import COLOURS
from nearsight.report.style import styled
from nearsight.units import ev_to_millihartree

ENERGIES = np.linspace(-0.6, 0.6, 41)
BIASES = (0.05, 0.1, 0.2)
TEMPERATURE = 300.0
NAMES = ("DFT", "local prediction", "self-consistent prediction")


def errors(prediction: Calculation, reference: Calculation) -> tuple[float, float]:
    """Mean errors of H at Γ on site and between atoms, mE_h."""
    h, exact = on_common_pairs(fold(prediction.require_hamiltonian()), fold(reference.require_hamiltonian()))
    s = fold(reference.require_overlap()).on_pairs(h.source, h.target, h.shift).values
    on_site = np.repeat(h.source == h.target, h.lengths)
    difference = h.values - exact.values
    mu = difference[on_site] @ s[on_site] / (s[on_site] @ s[on_site])
    size = ev_to_millihartree(np.abs(difference - mu * s))
    return float(size[on_site].mean()), float(size[~on_site].mean())


def figure(devices: dict[str, list[Transmission]]) -> Figure:
    """T(E) of each device, DFT and predictions."""
    with styled():
        drawn = Figure(figsize=(8.4, 3.0), layout="constrained")
        axes = drawn.subplots(1, len(devices), sharey=True, squeeze=False)[0]
        for ax, (device, found) in zip(axes, devices.items()):
            for name, one, colour, style in zip(NAMES, found, ("black", *COLOURS), ("-", ":", "-")):
                ax.semilogy(one.energies, one.transmission, color=colour, ls=style, lw=1.2, label=name)
            ax.set(xlabel="E − E_F (eV)", title=device)
        axes[0].set_ylabel("transmission (one spin)")
        axes[0].legend(fontsize=7)
    return drawn


def main() -> None:
    """Print a row for each device and matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lead")
    parser.add_argument("devices", nargs="+", help="name=DFT,prediction,…")
    parser.add_argument("--figure")
    options = parser.parse_args()
    lead, all_found = ns.read(options.lead), {}
    for device, files in (text.split("=") for text in options.devices):
        matrices = [ns.read(name) for name in files.split(",")]
        all_found[device] = []
        for name, matrix in zip(NAMES, matrices):
            junction = ns.junction(matrix, bulk=lead)
            found = ns.transport(junction, ENERGIES)
            all_found[device].append(found)
            exact = all_found[device][0]
            currents = [found.current(bias, TEMPERATURE) for bias in BIASES]
            ratios = [np.log10(i / exact.current(bias, TEMPERATURE)) for bias, i in zip(BIASES, currents)]
            print(
                f"{device:9} {name:27} I " + " ".join(f"{i:.3e}" for i in currents),
                "A, log10 I/I_DFT " + " ".join(f"{x:+.3f}" for x in ratios),
                f"G {found.conductance(TEMPERATURE):.3e}",
                f"raised {junction.left.energy_shift:+.3f} {junction.right.energy_shift:+.3f}",
                "" if matrix is matrices[0] else "error {:.2f} {:.3f} mE_h".format(*errors(matrix, matrices[0])),
                flush=True,
            )
    if options.figure:
        figure(all_found).savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
