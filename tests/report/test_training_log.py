"""The log that a run writes while it trains."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.report.training_log import read_training_log

RECORDS = [
    {
        "epoch": 1,
        "step": 4,
        "seconds": 1.5,
        "loss": 8.0,
        "learning_rate": 1e-2,
        "validation_loss": 9.0,
        "validation_eps_n_mEh": 3.0,
        "validation_eps_e_mEh": 0.5,
        "validation_eps_tot_mEh": 0.75,
    },
    {"epoch": 2, "step": 8, "seconds": 2.5, "loss": 4.0, "learning_rate": 1e-2, "validation_loss": 5.0},
    {
        "epoch": 3,
        "step": 12,
        "seconds": 3.5,
        "loss": 2.0,
        "learning_rate": 1e-3,
        "validation_loss": 6.0,
        "validation_eps_n_mEh": 2.0,
        "validation_eps_e_mEh": 0.25,
        "validation_eps_tot_mEh": 0.5,
    },
]
NAN = math.nan


def write(folder: Path, text: str) -> Path:
    path = folder / "log.jsonl"
    path.write_text(text)
    return path


def lines(records: list[dict[str, float]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_columns(tmp_path):
    log = read_training_log(write(tmp_path, lines(RECORDS)))
    assert log.epoch.tolist() == [1, 2, 3]
    assert log.seconds.tolist() == [1.5, 2.5, 3.5]
    assert log.loss.tolist() == [8, 4, 2]
    assert log.validation_loss.tolist() == [9, 5, 6]
    assert log.learning_rate.tolist() == [1e-2, 1e-2, 1e-3]
    np.testing.assert_array_equal(log.eps_n, [3, NAN, 2])
    np.testing.assert_array_equal(log.eps_e, [0.5, NAN, 0.25])
    np.testing.assert_array_equal(log.eps_tot, [0.75, NAN, 0.5])


@pytest.mark.parametrize("cut", [1, 9, 30, 70])
def test_truncated_last_line(tmp_path, cut):
    """The run is still writing it."""
    whole = lines(RECORDS)
    text = whole + json.dumps({**RECORDS[2], "epoch": 4})[:cut]
    log = read_training_log(write(tmp_path, text))
    assert log.epoch.tolist() == [1, 2, 3]
    assert log.loss.tolist() == [8, 4, 2]


def test_last_line_without_its_end_of_line(tmp_path):
    """Complete, so it counts."""
    assert read_training_log(write(tmp_path, lines(RECORDS).rstrip("\n"))).epoch.tolist() == [1, 2, 3]


def test_blank_lines_and_order(tmp_path):
    log = read_training_log(write(tmp_path, "\n" + lines(RECORDS[:0:-1]) + "\n\n" + lines(RECORDS[:1])))
    assert log.epoch.tolist() == [1, 2, 3]
    assert log.loss.tolist() == [8, 4, 2]


@pytest.mark.parametrize("broken", ['{"epoch": 2, "lo', '{"step": 3}', "12", '{"epoch": null}'])
def test_broken_line_in_between(tmp_path, broken):
    path = write(tmp_path, lines(RECORDS[:1]) + broken + "\n" + lines(RECORDS[2:]))
    with pytest.raises(FormatError, match=r"expected JSON with an epoch, got .* in line 2") as error:
        read_training_log(path)
    assert str(error.value).startswith(f"{path}: ")
    assert broken in str(error.value)


@pytest.mark.parametrize("text", ["", "\n\n", '{"epoch": 1, "los'])
def test_no_epoch_yet(tmp_path, text):
    with pytest.raises(FormatError, match="expected at least one epoch, got an empty log; is the first epoch over"):
        read_training_log(write(tmp_path, text))


def test_no_such_file(tmp_path):
    with pytest.raises(FormatError, match="expected a training log, got no such file") as error:
        read_training_log(tmp_path / "absent.jsonl")
    assert "absent.jsonl" in str(error.value)


@pytest.mark.parametrize("broken", ["[" * 100_000, '{"epoch": 1e999}', "\x00\x01"])
def test_lines_that_are_no_record(tmp_path, broken):
    path = write(tmp_path, lines(RECORDS[:1]) + broken + "\n" + lines(RECORDS[2:]))
    with pytest.raises(FormatError, match="expected") as error:
        read_training_log(path)
    assert str(error.value).startswith(f"{path}: ")


def test_last_errors(tmp_path):
    """The last that were measured, each on its own."""
    later = {"epoch": 4, "loss": 1.0, "validation_eps_n_mEh": 1.5}
    log = read_training_log(write(tmp_path, lines([*RECORDS, later])))
    assert log.last_errors() == (1.5, 0.25, 0.5)


def test_last_errors_where_none_was_measured(tmp_path):
    log = read_training_log(write(tmp_path, lines([RECORDS[1]])))
    assert all(math.isnan(error) for error in log.last_errors())


@pytest.mark.parametrize(
    ("records", "best"),
    [
        (RECORDS, 1),  # by validation loss, not by loss
        ([{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 1.0}, {"epoch": 3, "loss": 2.0}], 1),
        (
            [
                {"epoch": 1, "loss": 3.0},
                {"epoch": 2, "loss": 1.0, "validation_loss": 4.0},
                {"epoch": 3, "loss": 5.0, "validation_loss": 2.0},
            ],
            2,
        ),
        ([{"epoch": 1}, {"epoch": 2}], 1),  # nothing to judge: the last
    ],
)
def test_best(tmp_path, records, best):
    assert read_training_log(write(tmp_path, lines(records))).best == best


def test_diverged_run(tmp_path):
    """Losses that are not numbers any more do not hide the best epoch before."""
    text = '{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "loss": NaN}\n{"epoch": 3, "loss": Infinity}\n'
    log = read_training_log(write(tmp_path, text))
    np.testing.assert_array_equal(log.loss, [2.0, NAN, np.inf])
    assert log.best == 0


@pytest.mark.parametrize(
    ("extra", "validated", "measured"),
    [
        ({}, False, False),
        ({"validation_loss": 2.0}, True, False),
        ({"validation_loss": 2.0, "validation_eps_e_mEh": 0.5}, True, True),
    ],
)
def test_what_a_run_measured(tmp_path, extra, validated, measured):
    """A run that holds nothing out has no validation; one that holds out bonds alone has no ε_n."""
    log = read_training_log(write(tmp_path, lines([{"epoch": 1, "loss": 3.0}, {"epoch": 2, "loss": 1.0, **extra}])))
    assert (log.validated, log.measured) == (validated, measured)
    assert math.isnan(log.last_errors()[0])
