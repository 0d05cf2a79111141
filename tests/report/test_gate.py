import pytest
from tests.report.making import record_of, row, rows_of

from robustly.core.errors import AccessError, Contradiction, ModelRaised, RunError, UsageError
from robustly.core.records import Interval
from robustly.report.gate import exit_code, gate


def between(low: float, high: float, verdicts: str = "cub", **changes):
    record = record_of(rows_of(verdicts), **changes)
    population = Interval(low=low, high=high)
    return record.model_copy(update={"summary": record.summary.model_copy(update={"population": population})})


@pytest.mark.parametrize(
    ("low", "high", "threshold", "outcome", "code"),
    [
        (0.45, 0.60, 0.40, "passed", 0),
        (0.40, 0.60, 0.40, "passed", 0),
        (0.30, 0.39, 0.40, "failed", 1),
        (0.30, 0.40, 0.40, "inconclusive", 4),
        (0.30, 0.50, 0.40, "inconclusive", 4),
        (0.00, 1.00, 0.00, "passed", 0),
    ],
)
def test_the_interval_decides(low, high, threshold, outcome, code):
    record = between(low, high)
    assert gate(record, threshold).outcome == outcome
    assert exit_code(record, threshold) == code


def test_a_partial_run_never_passes():
    assert exit_code(between(0.5, 0.6, status="partial", why_partial="time"), 0.4) == 4
    assert exit_code(between(0.5, 0.6, status="partial", why_partial="time")) == 4


def test_a_partial_run_fails_only_when_all_were_asked():
    asked = between(0.1, 0.2, status="partial", why_partial="time")
    assert exit_code(asked, 0.4) == 1
    rows = (*asked.rows[:-1], row(2, "unknown", clean_label=None))
    assert exit_code(asked.model_copy(update={"rows": rows}), 0.4) == 4


def test_invalid_examples_fail_the_gate_and_say_so():
    found = gate(between(0.5, 0.6, "ccci"), 0.4)
    assert found.outcome == "failed"
    assert "NaN" in found.sentence
    assert "1 of 4" in found.sentence


@pytest.mark.parametrize(
    "record",
    [
        record_of(()),
        between(float("nan"), float("nan")),
        between(0.6, 0.5),
        between(0.5, 0.6).model_copy(update={"rows": ()}),
    ],
    ids=["no examples", "no number", "upside down", "rows lost"],
)
def test_a_missing_metric_fails(record):
    assert gate(record, 0.0).outcome == "failed"
    assert exit_code(record, 0.0) == 1


def test_a_contradiction_is_an_error_with_or_without_a_gate():
    record = between(0.5, 0.6, status="contradiction")
    assert exit_code(record) == exit_code(record, 0.4) == 3
    assert gate(record, 0.4).outcome == "failed"


@pytest.mark.parametrize("threshold", [-0.1, 1.01, 40, float("nan")])
def test_a_threshold_is_a_fraction(threshold):
    with pytest.raises(UsageError, match=r"Write 0\.40"):
        gate(between(0.5, 0.6), threshold)
    assert exit_code(between(0.5, 0.6), threshold) == 2


def test_errors_and_signals():
    assert exit_code() == 0
    assert exit_code(None, 0.4) == 2
    assert exit_code(between(0.5, 0.6)) == 0
    assert [exit_code(error=e) for e in (UsageError("x"), AccessError("x"))] == [2, 2]
    others = (RunError("x"), Contradiction("x"), ModelRaised("x"), ValueError("x"))
    assert [exit_code(error=e) for e in others] == [3, 3, 3, 3]
    assert exit_code(error=KeyboardInterrupt()) == 130
    assert exit_code(signal=2) == 130
    assert exit_code(between(0.5, 0.6), 0.4, error=UsageError("x"), signal=15) == 143
