"""HTML pages with figures and numbers of predictions and training runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nearsight.api.sources import CalculationLike, calculation_of
from nearsight.electronic.evaluation import Evaluation, evaluate, spectrum_of
from nearsight.errors import FormatError, InputError
from nearsight.formats.writers import is_prediction
from nearsight.operators.calculation import Calculation
from nearsight.output_path import PAGE, check_output
from nearsight.report.compared_prediction import ComparedPrediction
from nearsight.report.comparison import Comparison, write_comparison
from nearsight.report.page import Page, prediction_facts, reference_facts, structure_facts, write_page
from nearsight.report.structure_view import ALL_STATES, Colouring, colourings
from nearsight.report.training_log import read_run

WINDOW = (-4.0, 4.0)
"""eV from the Fermi level, of the local density of states that atoms are coloured by."""


def write_report(
    prediction: CalculationLike | None,
    reference: CalculationLike | None = None,
    run: str | Path | None = None,
    output: str | Path | None = None,
    *,
    evaluation: Evaluation | None = None,
) -> Path:
    """Write one HTML page with figures and numbers of a prediction, of a training run, or of both.

    With a reference, errors of matrix elements and levels are shown; without, the levels of a prediction that has S.
    The page holds everything and needs no network.

    Parameters
    ----------
    prediction : str, pathlib.Path, Calculation, object with an attribute `calculation`, or None
        The predicted calculation or its file; None, or the folder of a run, for a page of the run alone.
    reference : as `prediction`, optional
        A calculation of the same structure with the exact H, or its file.
    run : str or pathlib.Path, optional
        The folder of the training run that made the prediction.
    output : str or pathlib.Path, optional
        The page; by default the file of the prediction with the ending .html, or report.html in the folder of the run.
    evaluation : Evaluation, optional
        The errors of the prediction, where they are known already; they are computed if not.

    Returns
    -------
    pathlib.Path
        Where the page is.

    Raises
    ------
    FormatError
        If there is no such file or folder, a file or log cannot be read, or a folder is to be compared with a
        reference.
    InputError
        If the reference is of another structure, no place for the page is known, or it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nearsight.api.files import read
    >>> from nearsight.api.reports import write_report
    >>> silicon = read("data/silicon_2.h5")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(silicon, output=Path(folder) / "silicon.html")
    ...     ">Hamiltonian of Si2" in page.read_text(encoding="utf-8")
    True
    """
    if isinstance(prediction, (str, Path)) and Path(prediction).is_dir():
        if reference is not None:
            raise FormatError(
                prediction,
                "expected a file with a predicted H to compare with the reference, got a folder; "
                "make one with `nearsight predict`, and name the run with --run",
            )
        prediction, run = None, prediction
    target = _target(prediction, run, output)
    check_output(target, [prediction, reference, run], PAGE)
    write_page(target, _page(prediction, reference, None if run is None else Path(run), evaluation))
    return target


def _target(prediction: CalculationLike | None, run: str | Path | None, output: str | Path | None) -> Path:
    """Return where the page is written."""
    if isinstance(prediction, (str, Path)) and not Path(prediction).exists():
        raise FormatError(prediction, "expected a run's folder or a file with a predicted H, got nothing of that name")
    if output is not None:
        return Path(output)
    if isinstance(prediction, (str, Path)):
        return Path(prediction).with_suffix(".html")
    if prediction is None and run is not None:
        return Path(run) / "report.html"
    raise InputError("expected the name of the page as output, got none with a prediction that has no file")


def _page(
    prediction: CalculationLike | None,
    reference: CalculationLike | None,
    run: Path | None,
    evaluation: Evaluation | None,
) -> Page:
    """Gather what the page shows."""
    log, config = (None, None) if run is None else read_run(run, log_required=prediction is None)
    if prediction is None:
        name = "" if run is None else run.resolve().name
        return Page(f"Training run: {name}", "How the training of a network went.", log=log, config=config)
    predicted = calculation_of(prediction)
    exact = None if reference is None else calculation_of(reference)
    if exact is not None and evaluation is None:
        evaluation = evaluate(predicted, exact)
    return Page(
        f"{_what(predicted, exact)} of {predicted.structure.formula}",
        _subtitle(predicted, evaluation, _name(reference)),
        evaluation,
        spectrum_of(predicted) if evaluation is None and predicted.overlap is not None else None,
        log,
        prediction_facts(predicted),
        [] if exact is None else reference_facts(exact, _name(reference)),
        config,
        predicted.structure,
        _colourings(predicted, exact),
    )


def _what(shown: Calculation, reference: Calculation | None) -> str:
    """Return what the page shows: a run of a DFT code alone is not called a prediction."""
    return "Predicted Hamiltonian" if reference is not None or is_prediction(shown) else "Hamiltonian"


def compare_predictions(
    predictions: Mapping[str, CalculationLike],
    reference: CalculationLike,
    output: str | Path,
    *,
    runs: Mapping[str, str | Path] | None = None,
) -> list[ComparedPrediction]:
    """Write one HTML page that compares several predictions of a structure with its reference, side by side.

    Parameters
    ----------
    predictions : mapping of str to str, pathlib.Path, Calculation or object with an attribute `calculation`
        The predictions or their files by the names of the networks.
    reference : str, pathlib.Path, Calculation or object with an attribute `calculation`
        A calculation of the same structure with the exact H, or its file.
    output : str or pathlib.Path
        The page.
    runs : mapping of str to str or pathlib.Path, optional
        The folders of the training runs that made the predictions, by the same names.

    Returns
    -------
    list of ComparedPrediction
        The errors of each prediction, and its run; `report.compared_prediction.key_rows` makes a table of them.

    Raises
    ------
    FormatError
        If a file or log cannot be read.
    InputError
        If there is no prediction, one is of another structure, or the page cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> from nearsight.api.files import read
    >>> from nearsight.api.reports import compare_predictions
    >>> exact = read("data/silicon_2.h5")
    >>> h = exact.require_hamiltonian()
    >>> guess = replace(exact, hamiltonian=h.with_values(1.01 * h.values))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     compared = compare_predictions({"exact": exact, "guess": guess}, exact, Path(folder) / "page.html")
    >>> [f"{1e3 * c.evaluation.matrix.eps_n:.1f} meV" for c in compared]
    ['0.0 meV', '13.9 meV']
    """
    if not predictions:
        raise InputError("expected at least one prediction to compare with the reference, got none")
    check_output(output, [reference, *predictions.values(), *(runs or {}).values()], PAGE)
    exact = calculation_of(reference)
    compared = [
        _compared(name, calculation_of(source), exact, (runs or {}).get(name)) for name, source in predictions.items()
    ]
    names, file = " and ".join(predictions), _name(reference)
    comparison = Comparison(
        f"Predicted Hamiltonians of {exact.structure.formula}",
        f"{names}, trained on the same structure and compared, element by element and level by level, with the "
        f"reference{' ' + file if file else ''}, which they have not seen.",
        compared,
        structure_facts(exact),
        reference_facts(exact, file),
    )
    write_comparison(Path(output), comparison)
    return compared


def _compared(name: str, prediction: Calculation, exact: Calculation, run: str | Path | None) -> ComparedPrediction:
    """Return what is known of one prediction."""
    log, config = (None, None) if run is None else read_run(Path(run), log_required=False)
    evaluation = evaluate(prediction, exact, states=None)
    return ComparedPrediction(name, evaluation, log, prediction_facts(prediction), config)


def _name(source: CalculationLike | None) -> str:
    """Return the name of a source's file, empty where it has none."""
    return Path(source).name if isinstance(source, (str, Path)) else ""


def _subtitle(prediction: Calculation, evaluation: Evaluation | None, reference: str) -> str:
    if evaluation is not None:
        return (
            "A network's Hamiltonian, compared element by element and level by level with the "
            f"reference{' ' + reference if reference else ''}."
        )
    without = "" if prediction.overlap is not None else ", nor an overlap matrix, so there are no eigenvalues either"
    whose = "A network's Hamiltonian. " if is_prediction(prediction) else ""
    return f"{whose}No reference was given, so no errors are known{without}."


def _colourings(prediction: Calculation, exact: Calculation | None) -> list[Colouring]:
    if prediction.overlap is None and exact is not None:
        prediction = replace(prediction, overlap=exact.overlap)
    h = prediction.hamiltonian
    return colourings(prediction, exact, WINDOW, h is not None and h.n_orbitals <= ALL_STATES)
