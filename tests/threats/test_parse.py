"""The text form of a threat: read back as it was, and refused with the forms when it can't be read."""

import pytest

from robustly.core.errors import UsageError
from robustly.threats import L0, L1, L2, Both, Edits, Grid, Linf, eps_of, parse_threat, with_eps


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf:8/255", Linf(8 / 255)),
        ("linf:0.1", Linf(0.1)),
        ("LINF:1e-3", Linf(0.001)),
        ("l2:0.5", L2(0.5)),
        ("l1:12", L1(12.0)),
        ("l0:10", L0(10.0)),
        ("linf:0", Linf(0.0)),
        ("l2:inf", L2(float("inf"))),
        ("linf:inf@8bit", Grid(Linf(float("inf")), 8)),
        ("linf:8/255@8bit", Grid(Linf(8 / 255), 8)),
        ("linf:8/255&l2:1", Both(Linf(8 / 255), L2(1.0))),
        ("edits:2", Edits(2)),
    ],
)
def test_round_trip(text, threat):
    assert parse_threat(text) == threat
    assert parse_threat(str(threat)) == threat


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("linf", "linf:8/255"),
        ("linff:0.1", '"linf"'),
        ("l3:1", "l2"),
        ("linf:-0.1", ">= 0"),
        ("linf:nan", "finite"),
        ("flow:inf", "finite"),
        ("linf:1/0", "number"),
        ("linf:a", "number"),
        ("edits:1.5", "whole"),
        ("linf:0.1@99bit", "1 to 16"),
        ("edits:1&linf:1", "two norm threats"),
        ("linf:1&l2:1&l1:1", "two norm threats"),
        ("", "Write one of"),
    ],
)
def test_refused_with_a_remedy(text, says):
    with pytest.raises(UsageError, match=says):
        parse_threat(text)


@pytest.mark.parametrize("text", ["linf:0.1", "l2:0.1", "linf:0.2&l2:1", "linf:0.2@8bit", "edits:3"])
def test_another_size(text):
    assert eps_of(with_eps(parse_threat(text), 2)) == 2


def test_half_an_edit_is_refused():
    with pytest.raises(UsageError, match="whole"):
        with_eps(Edits(1), 0.5)
