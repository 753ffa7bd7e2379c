"""`nearsight transport`: transmission and current through a junction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nearsight.api.numbers import transport_numbers
from nearsight.api.transport import TransportStudy, load_junction, transport_study
from nearsight.atomic_files import write_text_atomically
from nearsight.cli.main import EXIT_INTERRUPTED
from nearsight.cli.output import FIGURE, check_outputs, json_text, print_json, write_figure, write_table
from nearsight.cli.printing import Terminal, say
from nearsight.cli.running import shown, stopped_by_signals
from nearsight.folder_lock import locked_folder
from nearsight.launch import launched
from nearsight.output_path import JSON, PAGE, TABLE
from nearsight.progress import silent
from nearsight.quantum_transport.junction_config import JunctionConfig
from nearsight.quantum_transport.sweep import InterruptedSweepError

EXAMPLE = """Transmission and current from lead to lead through a device, from its H and S.

Example: nearsight transport junction.yaml -o runs/junction --set energies.end=2 --set 'biases=[0.05, 0.1]'

The file names the device (H and S of all of it) and the leads' bulk, or the thickness of the layers at its ends:

    device: prediction.h5
    bulk: lead.h5
    energies: {start: -1, end: 1, step: 0.02}
    biases: [0.1]

Energies are in eV, relative to the Fermi level. Kill it anywhere and run it again: no energy is computed twice. Several
processes share the energies, on one machine or on many that see the folder: torchrun --nproc-per-node 4 -m nearsight …
"""


def transport_command(
    junction: Annotated[Path, typer.Argument(help="YAML file with the junction")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="folder of tables and figures; beside the file if none is given"),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the file's, such as energies.end=2")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON only")] = False,
) -> None:
    """Compute the transmission of a junction, and its currents."""
    config = load_junction(junction, changes or [])
    folder = output if output is not None else junction.with_suffix("")
    if launched().rank:
        # The first process of a launch has the folder and writes the results; the others help it.
        folder.mkdir(parents=True, exist_ok=True)
        _computed(config, folder)
        return
    with locked_folder(folder, "give another --output"):
        check_outputs(_outputs(config, folder), [junction, *_files(config)])
        study = _computed(config, folder)
        _write(study, folder)
    if json:
        print_json(transport_numbers(study))
    else:
        _say_currents(study, folder)


def _computed(config: JunctionConfig, folder: Path) -> TransportStudy:
    first = launched().rank == 0
    console = Terminal(stderr=True)
    try:
        with stopped_by_signals() as stop, shown(console, "energies") as progress:
            return transport_study(config, folder, progress=progress if first else silent, stop=stop)
    except InterruptedSweepError as reason:
        if first:
            say(console, str(reason), "yellow")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _files(config: JunctionConfig) -> list[Path]:
    names = (config.device, config.overlap, config.bulk, config.right_bulk)
    return [Path(name) for name in names if name is not None]


def _outputs(config: JunctionConfig, folder: Path) -> list[tuple[Path | None, str]]:
    """What is going to be written, and its kinds: refused before hours of work where it cannot be."""
    biases = dict.fromkeys(config.biases) if config.potential != "none" and len(config.biases) > 1 else {None: None}
    return [
        *((folder / _table_name(bias), TABLE) for bias in biases),
        (folder / "transport.json", JSON),
        (folder / "transmission.png", FIGURE),
        (folder / "report.html", PAGE),
        (folder / "local_density.png" if config.local else None, FIGURE),
        (folder / "bond_currents.png" if config.local else None, FIGURE),
    ]


def _table_name(bias: float | None) -> str:
    return "transmission.csv" if bias is None else f"transmission-{bias!r}V.csv"


def _write(study: TransportStudy, folder: Path) -> None:
    from nearsight.report.transport_figures import bond_current_figure, local_density_figure, transmission_figure
    from nearsight.report.transport_page import TransportPage, write_transport_page

    many = len(study.transmissions) > 1
    for found in study.transmissions:
        write_table(
            folder / _table_name(found.bias if many else None),
            {
                "energy_eV": found.energies,
                "transmission": found.transmission,
                "channels_left": found.channels_left,
                "channels_right": found.channels_right,
            },
        )
    write_text_atomically(folder / "transport.json", json_text(transport_numbers(study)) + "\n")
    labels = [f"{x.bias:g} V" for x in study.transmissions] if many else [study.junction.structure.formula]
    window = max(study.config.biases, key=abs)
    write_figure(folder / "transmission.png", transmission_figure(dict(zip(labels, study.transmissions)), bias=window))
    page = TransportPage(
        f"Transport through {study.junction.structure.formula}",
        list(zip(labels, study.transmissions)),
        study.config.biases,
        study.currents,
        study.conductance,
        study.config.temperature,
        study.notes,
        study.bond_currents,
    )
    write_transport_page(folder / "report.html", page)
    if study.config.local:
        write_figure(folder / "local_density.png", local_density_figure(study.transmissions[0]))
    if study.bond_currents is not None:
        write_figure(folder / "bond_currents.png", bond_current_figure(study.junction, study.bond_currents))


def _say_currents(study: TransportStudy, folder: Path) -> None:
    console = Terminal()
    for bias, value in zip(study.config.biases, study.currents):
        say(console, f"bias {bias:8.4f} V   current {value: .6e} A")
    first = study.transmissions[0]
    say(
        console,
        f"conductance {study.conductance:.6e} G0, {len(first.energies)} energies, Fermi level {first.fermi:.4f} eV",
    )
    for note in study.notes:
        if note.startswith("warning"):
            say(console, note, "yellow")
    say(console, f"{folder}: transmission.csv, transport.json, transmission.png, report.html")
