import pytest
from tests.report.making import record_of, rows_of

from robustly.report import words

G = "\u00a0"


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (0.0, f"0.0{G}%"),
        (1.0, f"100.0{G}%"),
        (0.442, f"44.2{G}%"),
        (0.00001, f"<{G}0.1{G}%"),
        (0.99999, f">{G}99.9{G}%"),
        (float("nan"), "–"),
        (None, "–"),
    ],
)
def test_percent_never_rounds_to_certainty(fraction, shown):
    assert words.percent(fraction) == shown


@pytest.mark.parametrize(
    ("verdicts", "start"),
    [
        ("", "No example was audited"),
        ("bbbm", f"Not one of 4{G}predictions"),
        ("ccbm", f"Exactly 50.0{G}% of the predictions"),
        ("uubm", f"At most 50.0{G}% of the predictions"),
        ("cubm", f"Between 25.0{G}% and 50.0{G}% of the predictions"),
    ],
)
def test_headline(verdicts, start):
    assert words.headline(record_of(rows_of(verdicts))).startswith(start)


def test_a_contradiction_gives_no_number():
    said = words.headline(record_of(rows_of("cub"), status="contradiction"))
    assert "contradicts itself" in said
    assert "%" not in said


def test_detail_counts_everything():
    said = words.detail(
        record_of(rows_of("ccubmi"), status="partial", why_partial="the time limit of 60 s was reached")
    )
    for part in ("2 are proven safe", "1 is broken", "1 is undecided", "1 is wrong", "1 is without", "60 s"):
        assert part in said


@pytest.mark.parametrize(
    ("threat", "said"),
    [
        ("linf:0.0313725490196", "changes of at most 0.03137 per input value"),
        ("linf:0.1@8bit", "changes of at most 0.1 per input value on the 8-bit grid"),
        ("linf:4/255", "changes of at most 4/255 per input value"),
        ("edits:1", "at most 1 character edit"),
        ("edits:2", "at most 2 character edits"),
        ("linf:0.1&l2:1", "the threat linf:0.1&l2:1"),
        ("l2:..", "the threat l2:.."),
    ],
)
def test_threat_in_words(threat, said):
    assert words.threat_in_words(threat) == said


@pytest.mark.parametrize(
    ("value", "said"), [(0.414, "0.41 s"), (59.6, "59.6 s"), (247, "4 min 7 s"), (7500, "2 h 5 min")]
)
def test_seconds(value, said):
    assert words.seconds(value) == said.replace(" s", f"{G}s").replace(" min", f"{G}min").replace(" h", f"{G}h")
