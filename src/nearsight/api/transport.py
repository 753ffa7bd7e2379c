"""Quantum transport through a junction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.api.sources import CalculationLike, OverlapLike, calculation_of
from nearsight.electronic.k_points import monkhorst_pack
from nearsight.errors import InputError
from nearsight.launch import launched
from nearsight.progress import Event, Progress, StopToken, silent
from nearsight.quantum_transport.arguments import real_number, real_numbers, whole_numbers
from nearsight.quantum_transport.conductors import conductor_potential
from nearsight.quantum_transport.junction import TOLERANCE, Junction, make_junction
from nearsight.quantum_transport.junction_config import JunctionConfig, load_junction
from nearsight.quantum_transport.junction_notes import junction_notes
from nearsight.quantum_transport.landauer import check_window
from nearsight.quantum_transport.observables import BondCurrents
from nearsight.quantum_transport.points_file import PointsFile, key_of
from nearsight.quantum_transport.potential import biased, linear_drop
from nearsight.quantum_transport.result import Transmission, gathered
from nearsight.quantum_transport.self_energy import ETA
from nearsight.quantum_transport.sweep import MOST_ENERGIES, Solve, Sweep, SweepSettings
from nearsight.quantum_transport.wide_band import WideBandEnd


def junction(
    device: CalculationLike,
    *,
    bulk: CalculationLike | None = None,
    right_bulk: CalculationLike | None = None,
    layer: float | None = None,
    wide_band: tuple[float, float] | None = None,
    overlap: OverlapLike | None = None,
    axis: int = 2,
    cut: float = 0.0,
    tolerance: float = TOLERANCE,
    match: bool = True,
    bulk_ends: bool | None = None,
) -> Junction:
    """Make a junction: left lead | device | right lead.

    Parameters
    ----------
    device : str, pathlib.Path, Calculation or object with an attribute `calculation`
        H and S of the whole device, from DFT or predicted. Along the axis it begins and ends with undistorted layers of
        the leads: one layer each where `bulk` is given, two each where `layer` is.
    bulk : as `device`, optional
        The leads' bulk, in a cell whose multiples the device's is across the axis, in real space.
    right_bulk : as `device`, optional
        The bulk of the right lead where it is another one.
    layer : float, optional
        Thickness along the axis, Å, of the layers that repeat each other at the device's own ends.
    wide_band : (float, float), optional
        Thickness (Å) of the device's ends that touch leads without features, and their broadening Γ (eV): Σ = −iΓ/2.
    overlap : as `device`, or BlockOperator, optional
        S of the device where its file has none.
    axis : int, default 2
        Lattice direction of transport: 0, 1 or 2.
    cut : float, default 0.0
        Fractional coordinate along the axis where the device begins.
    tolerance : float, default 1e-4
        Blocks with smaller |H| (eV) and |S| are no coupling.
    match : bool, default True
        Whether the bulk's zero of energy is matched to the device's: H + μ S nearest to the device's on-site blocks.
    bulk_ends : bool, optional
        Whether the device's end layers get H and S of the bulk; by default where `bulk` is given.

    Returns
    -------
    Junction
        For `transport`.

    Raises
    ------
    InputError
        If a matrix is missing or not Hermitian, a lead is not periodic, a layer too thin, or the leads touch.
    FormatError
        If a file cannot be read.
    """
    return make_junction(
        calculation_of(device, overlap),
        bulk=None if bulk is None else calculation_of(bulk),
        right_bulk=None if right_bulk is None else calculation_of(right_bulk),
        layer=layer,
        wide_band=wide_band,
        axis=axis,
        cut=cut,
        tolerance=tolerance,
        match=match,
        bulk_ends=bulk_ends,
    )


def transport(
    device: Junction | CalculationLike,
    energies: tuple[float, float] | Sequence[float] | np.ndarray = (-1.0, 1.0),
    *,
    step: float = 0.02,
    adaptive: float | None = None,
    k_points: tuple[int, int] = (1, 1),
    bias: float = 0.0,
    temperature: float = 300.0,
    potential: str | np.ndarray | None = None,
    fermi: float | None = None,
    local: bool = False,
    eta: float = ETA,
    processes: int = 1,
    compute_on: str = "cpu",
    file: str | Path | None = None,
    progress: Progress = silent,
    stop: StopToken | None = None,
    **leads: object,
) -> Transmission:
    """Compute the transmission of a junction over energies.

    Parameters
    ----------
    device : Junction, or what `junction` accepts
        The junction, or the device of which it is made.
    energies : (float, float), or array of float
        eV, relative to the Fermi level: a tuple of two is the limits of a grid, a list or an array all energies.
    step : float, default 0.02
        eV, of the grid between two limits.
    adaptive : float, optional
        Energies are added until the integral of T (in the bias window, where there is a bias) is converged to this
        fraction, and around the narrow levels of the device. By default none are added.
    k_points : (int, int), default (1, 1)
        Mesh across the axis; more than (1, 1) needs matrices in real space.
    bias : float, default 0.0
        V. It weights refinement and, with `potential`, enters H.
    temperature : float, default 300
        K, of the electrons in the leads.
    potential : "linear", "conductors", (N,) array of float, optional
        How the bias drops along the device: linearly between the leads' layers; between two conductors, which all the
        metal at either end is; or as the energy (eV) of an electron at each atom. By default H stays as it is.
    fermi : float, optional
        Fermi level in the device's zero of energy, eV; by default the left lead's.
    local : bool, default False
        Whether reflection and local densities of states are computed, which takes about twice as long.
    eta : float, default 1e-9
        Imaginary part of the energy in the leads, eV.
    processes : int, default 1
        Number of processes, each with one thread; no more than there are cores are used. Where torchrun started several
        processes, on one machine or on many, they share the energies by `file`.
    compute_on : str, default "cpu"
        "cuda" or "cuda:N" solves batches of energies on a GPU, in one process.
    file : str or pathlib.Path, optional
        Where points are kept (`.h5`): a run that was interrupted goes on there, and ends with the same numbers.
    progress : callable, optional
        Told how many energies are done.
    stop : StopToken, optional
        Ends the run after the points under way.
    **leads
        `bulk`, `layer` and the other arguments of `junction`, where the device is none yet.

    Returns
    -------
    Transmission
        T(E), open channels, eigenchannels, local densities, with methods for current and conductance.

    Raises
    ------
    InputError
        As `junction`; if no Fermi level is known, or an argument is out of range.
    InterruptedSweepError
        If it was stopped.

    Examples
    --------
    >>> import nearsight as ns
    >>> junction = ns.junction("data/AlHfO2Al_156.h5", bulk="data/Al32_lead.h5")
    >>> found = ns.transport(junction, [0.0])
    >>> f"{found.transmission[0]:.1e} of {found.channels_left[0]:.0f} channels"
    '2.2e-03 of 13 channels'
    """
    built = device if isinstance(device, Junction) else junction(device, **leads)  # type: ignore[arg-type]
    if isinstance(device, Junction) and leads:
        raise InputError(f"expected no {min(leads)} with a junction that is made already")
    zero, bias = _fermi_level(built, fermi), real_number("a bias in V", bias)
    temperature = real_number("a temperature in K", temperature, least=0)
    if potential is not None:
        built = biased(built, bias, _potential(built, bias, potential))
    points, weights = _mesh(k_points, built.axial.axis, time_reversal=not local)
    settings = SweepSettings(
        _grid(energies, step), zero, points, weights, eta, adaptive, 1e-7, bias, temperature, local
    )
    kept = None if file is None else PointsFile(Path(file), _key(built, settings))
    (count,) = whole_numbers("at least one process", [processes], 1)
    solver = None if compute_on == "cpu" else _on_gpu(built, settings, compute_on, count)
    found, solved = Sweep(built, settings, kept, count, solver, launch=launched()).run(progress, stop)
    return gathered(built, found, solved, points, weights, zero, bias if potential is not None else 0.0, eta)


def _potential(built: Junction, bias: float, potential: str | np.ndarray) -> np.ndarray:
    if not isinstance(potential, str):
        return potential
    if potential == "linear":
        return linear_drop(built, bias)
    if potential == "conductors":
        return conductor_potential(built, bias)
    raise InputError(f"expected a potential 'linear', 'conductors' or one energy for each atom, got {potential!r}")


def _on_gpu(built: Junction, settings: SweepSettings, name: str, processes: int) -> Solve:
    from nearsight.nn.batched_scattering import BatchedSolver
    from nearsight.nn.devices import device_named

    if processes > 1:
        raise InputError(f"expected one process with compute_on={name}, got {processes}")
    own = f"cuda:{launched().local_rank}" if name == "cuda" else name
    return BatchedSolver(built, settings, device_named(own))


def _fermi_level(built: Junction, fermi: float | None) -> float:
    level = built.fermi if fermi is None else fermi
    if level is None:
        raise InputError("expected a Fermi level with the leads, got files without one; give it as fermi (eV)")
    return real_number("a Fermi level in eV", level)


def _grid(energies: tuple[float, float] | Sequence[float] | np.ndarray, step: float) -> np.ndarray:
    given = real_numbers("a list of finite energies in eV", energies)
    if not isinstance(energies, tuple) or given.shape != (2,):
        return given
    if not (step > 0 and given[0] < given[1]):
        raise InputError(f"expected two ascending limits and a step above 0, got {given.tolist()} and {step}")
    count = (given[1] - given[0]) / step + 1
    if not count <= MOST_ENERGIES:
        raise InputError(f"expected at most {MOST_ENERGIES:,} energies, got {count:.3g}: raise step, now {step:g} eV")
    return np.linspace(given[0], given[1], max(2, round(count)))


def _mesh(counts: tuple[int, int], axis: int, time_reversal: bool) -> tuple[np.ndarray, np.ndarray]:
    three = list(whole_numbers("a mesh of two counts across the direction of transport", counts, 2))
    three.insert(axis, 1)
    return monkhorst_pack((three[0], three[1], three[2]), time_reversal=time_reversal)


def _key(built: Junction, settings: SweepSettings) -> str:
    """Everything that a point depends on; energies beyond the grid may be others."""
    axial = built.axial
    parts: list[object] = []
    operators = [axial.hamiltonian, axial.overlap]
    for lead in (built.left, built.right):
        if isinstance(lead, WideBandEnd):
            parts += [lead.atoms, lead.broadening]
        else:
            operators += [lead.hamiltonian, lead.overlap]
            parts += [lead.atoms, lead.energy_shift, lead.axis]
    for operator in operators:
        parts += [operator.source, operator.target, operator.shift, operator.values]
    parts += [built.order, built.bulk_ends, settings.zero, settings.k_points, settings.eta, settings.local]
    return key_of(*parts)


@dataclass(frozen=True, eq=False)
class TransportStudy:
    """What a junction's file asked for.

    Attributes
    ----------
    config : JunctionConfig
        The file's settings.
    junction : Junction
        The junction at zero bias.
    transmissions : tuple of Transmission
        One for each bias where the potential follows it, else one for all.
    currents : tuple of float
        A, of each bias.
    conductance : float
        At zero bias in G₀ = 2e²/h; of the first transmission.
    notes : tuple of str
        What should be known of the junction: how leads were matched, what was left out, what is doubtful.
    bond_currents : BondCurrents or None
        At the Fermi level, of the first transmission; None where local quantities were not asked for.
    """

    config: JunctionConfig
    junction: Junction
    transmissions: tuple[Transmission, ...]
    currents: tuple[float, ...]
    conductance: float
    notes: tuple[str, ...]
    bond_currents: BondCurrents | None = None


def transport_study(
    source: str | Path | JunctionConfig,
    folder: str | Path | None = None,
    *,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    progress: Progress = silent,
    stop: StopToken | None = None,
) -> TransportStudy:
    """Compute what a junction's YAML file asks for.

    Parameters
    ----------
    source : str, pathlib.Path or JunctionConfig
        The file, or its content.
    folder : str or pathlib.Path, optional
        Where points are kept (`points-*.h5`), so that an interrupted study goes on. By default they are not kept.
    overrides : iterable of str, or mapping
        Changes of the file's keys, such as `energies.end=2`.
    progress : callable, optional
        Told how many energies are done.
    stop : StopToken, optional
        Ends the study after the points under way.

    Returns
    -------
    TransportStudy
        Transmissions, currents, and what should be known.

    Raises
    ------
    ConfigError
        If the file cannot be used.
    InputError
        As `junction` and `transport`; if energies do not cover the bias windows.
    InterruptedSweepError
        If it was stopped.
    """
    config = source if isinstance(source, JunctionConfig) else load_junction(source, overrides)
    window = config.energies
    limits = np.array([window.start, window.end])
    for bias in config.biases:
        check_window(limits, bias, config.temperature)
    built = junction(
        config.device,
        bulk=config.bulk,
        right_bulk=config.right_bulk,
        layer=config.layer,
        wide_band=config.wide_band,
        overlap=config.overlap,
        axis="abc".index(config.axis),
        cut=config.cut,
        tolerance=config.tolerance,
        match=config.match,
    )
    for note in junction_notes(built):
        progress(Event(note))
    follows = config.potential != "none"
    found = []
    for bias in config.biases if follows else (max(config.biases, key=abs),):
        kept = None if folder is None else Path(folder) / (f"points-{bias!r}V.h5" if follows else "points.h5")
        found.append(
            transport(
                built,
                (window.start, window.end),
                step=window.step,
                adaptive=window.adaptive,
                k_points=config.k_points,
                bias=bias if follows else 0.0,
                temperature=config.temperature,
                potential=config.potential if follows else None,
                fermi=config.fermi,
                local=config.local,
                eta=config.eta,
                processes=config.processes,
                compute_on=config.compute_on,
                file=kept,
                progress=progress,
                stop=stop,
            )
        )
    each = found if follows else found * len(config.biases)
    currents = tuple(x.current(bias, config.temperature) for x, bias in zip(each, config.biases))
    conductance = found[0].conductance(config.temperature)
    flow = found[0].bond_currents() if config.local else None
    return TransportStudy(config, built, tuple(found), currents, conductance, found[0].notes, flow)
