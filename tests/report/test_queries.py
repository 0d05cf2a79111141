"""Success and distance against queries, and where they stand in the report."""

from tests.report.making import record_of, row

from robustly.report.html import report_html
from robustly.report.queries import queries
from robustly.report.query_plots import distance_curve, success_curve


def spent(lines, access="scores"):
    rows = tuple(
        row(i, verdict, distance=distance, broken_after=after, forward=forward)
        for i, (verdict, distance, after, forward) in enumerate(lines)
    )
    made = record_of(rows)
    return made.model_copy(update={"model": made.model.model_copy(update={"access": access})})


ROWS = [
    ("broken", 0.04, 7, 8),
    ("broken", 0.1, 3, 3),
    ("broken", 0.06, 7, 7),
    ("unknown", None, None, 20),
    ("misclassified", None, None, 1),
]


def test_the_curves_step_where_examples_break():
    found = queries(spent(ROWS))
    assert found is not None
    assert [(s.queries, s.success, s.distance) for s in found.steps] == [(3, 0.25, 0.1), (7, 0.75, 0.06)]
    assert (found.attacked, found.most, found.each) == (4, 20, 7)
    assert found.per_success == (8 + 3 + 7 + 20) / 3


def test_they_are_for_attackers_without_gradients_alone():
    assert queries(spent(ROWS, "gradients")) is None
    assert queries(spent([("misclassified", None, None, 1)])) is None


def test_nothing_broken_is_a_flat_line():
    found = queries(spent([("unknown", None, None, 20)]))
    assert found is not None
    assert (found.steps, found.each, found.per_success) == ((), None, None)
    assert "of 1 examples broken within 20 queries each" in success_curve(found)
    assert distance_curve(found) is None


def test_the_report_shows_them():
    page = report_html(spent(ROWS))
    assert "What the queries bought" in page
    assert "Half of those broken took at most 7 queries; 13 were spent in all for each success" in page
    assert "What the queries bought" not in report_html(spent(ROWS, "gradients"))
