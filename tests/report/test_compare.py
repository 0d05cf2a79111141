import pytest
from tests.report.hostile import ALL
from tests.report.making import record_of, rows_of
from tests.report.printing import printed

from robustly.core.errors import UsageError
from robustly.report.compare import compare, comparison_table, mcnemar


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 * 0.5**5),
        (0, 8, 2 * 0.5**8),
        (1, 9, 2 * 11 / 1024),  # two-sided: P(X <= 1) + P(X >= 9) of 10 fair coins
        (2, 6, 2 * (1 + 8 + 28) / 256),
        (4, 4, 1.0),
    ],
)
def test_mcnemar_by_hand(lost, gained, p):
    assert mcnemar(lost, gained) == pytest.approx(p)


def test_changes_are_matched_by_identity():
    a = record_of(rows_of("ccuubbmc"))
    turned = rows_of("cbuucbmb")
    b = record_of(tuple(reversed(turned)))
    found = compare(a, b)
    assert found.matched == 8
    assert [(c.index, c.before, c.after) for c in found.changes] == [
        (1, "certified", "broken"),
        (4, "broken", "certified"),
        (7, "certified", "broken"),
    ]
    assert (found.lost, found.gained) == (2, 1)
    assert found.p_value == pytest.approx(1.0)
    assert found.brackets[0] == (a.summary.certified, a.summary.attacked)


def test_an_invalid_example_is_not_robust():
    assert compare(record_of(rows_of("cc")), record_of(rows_of("ci"))).lost == 1


def test_doubles_are_matched_in_order():
    first, second = rows_of("cb")
    a = record_of((first, second.model_copy(update={"id": first.id})))
    assert compare(a, a).changes == ()
    assert compare(a, a).matched == 2


def test_unmatched_examples_are_counted():
    a, b = record_of(rows_of("ccb")), record_of(rows_of("cc"))
    assert compare(a, b).unmatched == (1, 0)
    assert compare(a, b).matched == 2


@pytest.mark.parametrize("what", ["data", "threat", "eps", "goal"])
def test_other_questions_are_refused(what):
    a = record_of(rows_of("cub"))
    other = {
        "data": a.data.model_copy(update={"digest": "other"}),
        "threat": "l2:1",
        "eps": 0.2,
        "goal": "targeted",
    }[what]
    with pytest.raises(UsageError, match=f"differ in {what}"):
        compare(a, a.model_copy(update={what: other}))


def test_nothing_in_common_is_refused():
    a = record_of(rows_of("c"))
    b = record_of((a.rows[0].model_copy(update={"id": "other"}),))
    with pytest.raises(UsageError, match="no example in common"):
        compare(a, b)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_shown(encoding):
    a = record_of(rows_of("c" * 40))
    b = record_of(rows_of("b" * 30 + "c" * 10), status="partial", why_partial="time")
    b = b.model_copy(update={"model": b.model.model_copy(update={"name": ALL})})
    out = printed(comparison_table(compare(a, b)), encoding)
    assert "certified -> broken: 30" in out
    assert "and 10 more" in out
    assert "partial" in out
    assert f"p = {2 * 0.5**30:.3g}" in out
    assert "\x1b[31m" not in out
