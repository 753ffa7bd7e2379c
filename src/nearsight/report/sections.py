"""The sections of the pages: each turns results into figures with captions and tables."""

from __future__ import annotations

from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.matrix_errors import BlockErrors, MatrixErrors
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import GAP_WINDOW, SpectrumErrors
from nearsight.elements import symbol_of
from nearsight.report.figures import distance_figure, parity_figure, spectrum_figure, training_figure
from nearsight.report.html import Block, Cards, Details, Drawing, Heading, Paragraph, Section, Table, Terms, number
from nearsight.report.training_log import TrainingLog
from nearsight.units import ev_to_millihartree

TALLY_HEAD = ("blocks", "matrix elements", "mean error, mE_h", "mean error, meV", "largest, meV", "mean |H|, mE_h")
TERMS = (
    (
        "Hamiltonian H",
        "The matrix whose element (a, b) says how orbital a feels orbital b. DFT finds it in a "
        "self-consistent cycle; the network predicts it from the positions of the atoms alone.",
    ),
    ("Block", "The part of H between the orbitals of two atoms i and j, or of one atom with itself (on site)."),
    (
        "ε_n, ε_e, ε_tot",
        "Mean absolute errors of the matrix elements: of on-site blocks (nodes of the graph), of "
        "blocks between two atoms (directed edges), and of both together.",
    ),
    (
        "Overlap S",
        "The matrix of overlaps between orbitals. It depends on positions and basis only and is not "
        "predicted; H ψ = ε S ψ gives the energy levels ε.",
    ),
    (
        "HOMO, LUMO, gap",
        "The highest level with an electron, the lowest with room for one, and their distance. Each "
        "level holds two electrons.",
    ),
    ("mE_h, meV", "1 mE_h (millihartree) = 27.211 meV."),
)


def key_numbers(evaluation: Evaluation) -> Cards:
    """Return the numbers that matter most, for the top of the page."""
    matrix, spectrum = evaluation.matrix, evaluation.spectrum
    entries = [
        ("ε_n, on site", _millihartree(matrix.eps_n, ".3f"), number(1e3 * matrix.eps_n, ".2f", "meV")),
        ("ε_e, between atoms", _millihartree(matrix.eps_e, ".4f"), number(1e3 * matrix.eps_e, ".2f", "meV")),
        ("ε_tot, all elements", _millihartree(matrix.eps_tot, ".4f"), number(1e3 * matrix.eps_tot, ".2f", "meV")),
    ]
    if spectrum is not None:
        entries += [
            (
                "eigenvalues, relative L1",
                _percent(spectrum.relative_l1),
                f"occupied {_percent(spectrum.relative_l1_occupied)}",
            ),
            (
                "gap",
                number(spectrum.gap_prediction, ".3f", "eV"),
                f"reference {number(spectrum.gap_reference, '.3f', 'eV')}",
            ),
        ]
    return Cards(entries)


def spectrum_section(evaluation: Evaluation) -> Section:
    """Return the section of the eigenvalues of prediction and reference."""
    errors, ours, theirs = evaluation.spectrum, evaluation.prediction, evaluation.reference
    if errors is None or ours is None or theirs is None:
        why = (
            "Neither file holds an overlap matrix S, so there are no eigenvalues."
            if evaluation.missing_overlap
            else "Eigenvalues were not asked for."
        )
        return Section("Eigenvalue spectrum", (Paragraph(why),))
    return Section(
        "Eigenvalue spectrum",
        (
            Drawing(
                spectrum_figure(ours, theirs),
                "Eigenvalues of prediction and reference",
                "Energy levels in ascending order, the reference in pale blue beneath the prediction in red; where "
                "they agree, red lies inside blue. Left: all levels, with the reference's gap as a dashed box. "
                f"Middle: the levels up to {GAP_WINDOW:g} eV from the gap (shaded). Right: prediction minus reference "
                "of every level; points off the zero line together are a common shift, their spread is the scatter.",
            ),
            *_spectrum_tables(errors, ours, theirs),
            Paragraph(
                f"Both spectra use the same overlap S (condition number {theirs.overlap_condition:.3g}) and "
                f"{theirs.n_electrons:,} electrons in {theirs.n_levels:,} levels. Relative errors are "
                "‖E_pred − E_ref‖ / ‖E_ref‖ with the L1 or L2 norm; they depend on the zero of energy, the errors "
                f"in meV do not.{_odd(theirs)}{_projected_out(ours)}",
                "note",
            ),
        ),
    )


def single_spectrum_section(spectrum: Spectrum) -> Section:
    """Return the section of the eigenvalues of a prediction without reference."""
    rows = [
        ("levels", f"{spectrum.n_levels:,}"),
        ("electrons", f"{spectrum.n_electrons:,}"),
        ("HOMO", number(spectrum.homo, ".4f", "eV")),
        ("LUMO", number(spectrum.lumo, ".4f", "eV")),
        ("gap", number(spectrum.gap, ".4f", "eV")),
        ("Fermi level (mid-gap)", number(spectrum.fermi, ".4f", "eV")),
        ("condition number of S", f"{spectrum.overlap_condition:.3g}"),
        ("residual at HOMO and LUMO", f"{spectrum.residual:.1e} eV"),
    ]
    return Section(
        "Eigenvalue spectrum",
        (
            Drawing(
                spectrum_figure(spectrum),
                "Eigenvalues of the prediction",
                "Energy levels in ascending order. Left: all levels, with the gap as a dashed box. Right: the levels "
                f"up to {GAP_WINDOW:g} eV from the gap (shaded).{_odd(spectrum)}",
            ),
            Table((), rows),
        ),
    )


def matrix_sections(evaluation: Evaluation) -> list[Section]:
    """Return the sections of the errors of the matrix elements: all, and by elements and distance."""
    matrix = evaluation.matrix
    return [
        Section(
            "Matrix elements",
            (
                Table(
                    ("", *TALLY_HEAD),
                    [
                        ("on site (ε_n)", *_block_cells(matrix.nodes)),
                        ("between atoms (ε_e)", *_block_cells(matrix.edges)),
                        ("all (ε_tot)", *_block_cells(matrix.total)),
                    ],
                ),
                Paragraph(_scope(matrix), "note"),
                Drawing(
                    parity_figure(evaluation.parity),
                    "Predicted against reference matrix elements",
                    "Every point is one matrix element: the reference's value to the right, the predicted one upwards. "
                    "A perfect prediction lies on the dashed line; the distance from it is the error.",
                ),
            ),
        ),
        Section(
            "By elements and distance",
            (
                _pair_table(matrix),
                Drawing(
                    distance_figure(matrix),
                    "Error against distance",
                    "Mean absolute error of the blocks between two atoms against their distance (red), beside "
                    "the mean size of the reference's elements (dark), in bins of 0.5 Å; squares at zero are the "
                    "on-site blocks. Where red reaches dark, the prediction is no better than zero.",
                ),
                Details("Show these numbers", (_distance_table(matrix),)),
            ),
        ),
    ]


def training_section(log: TrainingLog) -> Section:
    """Return the section of loss and validation errors of a run; what it did not measure is not shown."""
    caption = "Left: the loss" if log.measured else "The loss"
    caption += " (what training minimises) of the parts that were trained on"
    if log.validated:
        caption += (
            ", and of the parts that were held out for validation; when only the first keeps falling, the "
            "network learns by heart"
        )
    caption += "."
    if log.measured:
        caption += (
            " Right: mean absolute errors of the validation parts' matrix elements, on site, between atoms, "
            "and of all, as far as they were held out."
        )
    return Section(
        "Training", (Drawing(training_figure(log), "Training curve", caption), Table((), training_rows(log)))
    )


def training_rows(log: TrainingLog) -> list[tuple[str, str]]:
    """Return names and texts of the numbers of a run."""
    rows = [
        ("epochs", f"{int(log.epoch[-1]):,}"),
        ("time", number(log.seconds[-1] / 60, ".1f", "minutes")),
        ("last training loss", number(log.loss[-1], ".3e")),
    ]
    if log.validated:
        rows.append(
            (
                "best validation loss",
                number(log.validation_loss[log.best], ".3e", f"(epoch {int(log.epoch[log.best])})"),
            )
        )
    if log.measured:
        rows.append(
            (
                "last validation ε_n, ε_e, ε_tot",
                " / ".join(number(value, ".4g") for value in log.last_errors()) + " mE_h",
            )
        )
    rates = (number(log.learning_rate[k], ".2g") for k in (0, -1))
    return [*rows, ("learning rate, first and last", ", ".join(rates))]


def glossary() -> Section:
    """Return the section that explains the terms of the page."""
    return Section("Terms", (Terms(TERMS),))


def _spectrum_tables(errors: SpectrumErrors, ours: Spectrum, theirs: Spectrum) -> tuple[Block, ...]:
    levels = Table(
        ("", "prediction", "reference", "difference"),
        [
            (name, number(a, ".4f", "eV"), number(b, ".4f", "eV"), number(1e3 * (a - b), "+.1f", "meV"))
            for name, a, b in (
                ("gap", ours.gap, theirs.gap),
                ("HOMO", ours.homo, theirs.homo),
                ("LUMO", ours.lumo, theirs.lumo),
                ("Fermi level (mid-gap)", ours.fermi, theirs.fermi),
            )
        ],
    )
    near = number(1e3 * errors.mean_absolute_near_gap, ".1f", "meV")
    deviations = Table(
        ("error of the levels", "all", "occupied", f"within {GAP_WINDOW:g} eV of the gap"),
        [
            ("relative L1", _percent(errors.relative_l1), _percent(errors.relative_l1_occupied), ""),
            ("relative L2", _percent(errors.relative_l2), _percent(errors.relative_l2_occupied), ""),
            (
                "mean absolute",
                number(1e3 * errors.mean_absolute, ".1f", "meV"),
                number(1e3 * errors.mean_absolute_occupied, ".1f", "meV"),
                near,
            ),
            ("common shift", "", number(1e3 * errors.mean_occupied, "+.1f", "meV"), ""),
            ("largest", number(1e3 * errors.largest, ".0f", "meV"), "", ""),
        ],
    )
    return levels, Heading("Errors of the eigenvalues"), deviations


def _scope(matrix: MatrixErrors) -> str:
    text = "Means run over every element of the predicted blocks; (i, j) and (j, i) both count."
    if matrix.folded:
        text += " Periodic images of a pair are summed, as in the reference, which is a matrix at Γ."
    outside = matrix.outside
    if outside.n_elements:
        text += (
            f" Beyond them the reference holds {outside.n_blocks:,} more blocks, which the prediction takes as "
            f"zero: mean |H| {_millihartree(outside.magnitude, '.4f')}, largest "
            f"{_millihartree(outside.largest, '.3f')}."
        )
    return text


def _pair_table(matrix: MatrixErrors) -> Table:
    rows = []
    for pair in matrix.element_pairs:
        a, b = (symbol_of(z) for z in pair.elements)
        rows.append((f"{a}, on site" if pair.on_site else f"{a} → {b}", *_block_cells(pair.errors)))
    return Table(("", *TALLY_HEAD), rows)


def _distance_table(matrix: MatrixErrors) -> Table:
    return Table(
        ("distance, Å", *TALLY_HEAD),
        [(f"{row.lower:.1f} – {row.upper:.1f}", *_block_cells(row.errors)) for row in matrix.distances],
    )


def _block_cells(errors: BlockErrors) -> tuple[str, ...]:
    return (
        f"{errors.n_blocks:,}",
        f"{errors.n_elements:,}",
        number(ev_to_millihartree(errors.mean_absolute), ".4f"),
        number(1e3 * errors.mean_absolute, ".2f"),
        number(1e3 * errors.largest, ".0f"),
        number(ev_to_millihartree(errors.magnitude), ".3f"),
    )


def _millihartree(energy: float, form: str) -> str:
    return number(ev_to_millihartree(energy), form, "mE_h")


def _percent(fraction: float) -> str:
    return number(100 * fraction, ".3f", "%")


def _projected_out(spectrum: Spectrum) -> str:
    if not spectrum.projected_out:
        return ""
    return (
        f" {spectrum.projected_out:,} ill-conditioned directions of the basis are projected out of the prediction's "
        "spectrum; the highest levels of the reference have no partner and are not compared."
    )


def _odd(spectrum: Spectrum) -> str:
    if not spectrum.singly_occupied:
        return ""
    return (
        " The number of electrons is odd: the highest level holds one electron and is both HOMO and LUMO, so the "
        "gap is zero and the Fermi level is this level."
    )
