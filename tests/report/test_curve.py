import pytest
from tests.report.hostile import assert_inert
from tests.report.making import record_of, row, rows_of, sweep_point

from robustly.report.curve import curve
from robustly.report.plots import accuracy_curve, ticks


def at(found, eps):
    return next(s for s in found.steps if s.begin <= eps < s.end)


def test_the_bracket_at_every_size():
    rows = (
        row(0, "certified", certified_at=0.1),
        row(1, "unknown"),
        row(2, "broken", distance=0.04),
        row(3, "broken", distance=0.08),
        row(4, "misclassified"),
    )
    found = curve(record_of(rows))
    assert found.clean == 0.8
    for eps, certified, attacked in [
        (0.0, 0.2, 0.8),
        (0.039, 0.2, 0.8),
        (0.04, 0.2, 0.6),
        (0.079, 0.2, 0.6),
        (0.08, 0.2, 0.4),
    ]:
        assert (at(found, eps).certified, at(found, eps).attacked) == (certified, attacked), eps
    assert at(found, 0.103).certified == 0.0  # nothing is proven beyond what was audited
    assert at(found, 0.103).attacked == 0.4


def test_a_break_at_exactly_the_audited_size_is_seen():
    found = curve(record_of((row(0, "broken", distance=0.1 + 1e-9), row(1, "unknown"))))
    assert at(found, 0.05).attacked == 1.0
    assert at(found, 0.1).attacked == 0.5


def test_the_sweep_reaches_further():
    rows = (row(0, "certified", certified_at=0.2), row(1, "certified", certified_at=0.1, broken_at=0.3))
    points = (sweep_point(0.2, 0.5, 1.0), sweep_point(0.3, 0.0, 0.5))
    found = curve(record_of(rows, sweep=points))
    assert found.largest == 0.3
    assert (at(found, 0.05).certified, at(found, 0.15).certified, at(found, 0.25).certified) == (1.0, 0.5, 0.0)
    assert (at(found, 0.25).attacked, at(found, 0.3).attacked) == (1.0, 0.5)


def test_many_examples_are_drawn_with_few_steps_that_still_bound():
    rows = tuple(row(i, "broken", distance=0.1 * i / 5000) for i in range(5000))
    found = curve(record_of(rows))
    assert len(found.steps) <= 302
    for step in found.steps[:-1]:
        middle = (step.begin + step.end) / 2
        assert step.attacked >= sum(r.distance > middle for r in rows) / 5000
        assert step.attacked <= 0.01 + sum(r.distance > step.begin for r in rows) / 5000


@pytest.mark.parametrize("changes", [{"eps": None}, {"eps": 0.0}])
def test_no_curve_without_sizes(changes):
    assert accuracy_curve(record_of(rows_of("cub"), **changes)) is None
    assert accuracy_curve(record_of(())) is None


@pytest.mark.parametrize("largest", [1e-4, 0.03137, 0.1, 1, 2, 9.9, 10, 999, 1000])
def test_ticks_are_few_and_inside(largest):
    marks = ticks(largest)
    assert 3 <= len(marks) <= 9
    assert marks[0] == 0
    assert marks[-1] <= largest * (1 + 1e-9)


def test_counts_have_whole_ticks():
    assert ticks(2, whole=True) == [0, 1, 2]
    assert ticks(1, whole=True) == [0, 1]
    assert ticks(10, whole=True) == [0, 2, 4, 6, 8, 10]


def test_the_picture_says_what_it_shows(fashion):
    picture = accuracy_curve(fashion)
    reader = assert_inert(picture)
    label = dict(reader.tags[0][1])["aria-label"]
    assert label.startswith("Robust accuracy falls from")
    assert f"{100 * fashion.sweep[-1].attacked:.1f}" in label
    assert sum(tag == "circle" for tag, _ in reader.tags) == len(fashion.sweep)
