"""The text forms of image threats: read back as they were, resized, and refused with a remedy."""

import pytest

from robustly.core.errors import UsageError
from robustly.threats import Colour, Corrupt, Flow, Rotate, Shift, Ssim, eps_of, parse_threat, with_eps


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("rotate:30", Rotate(30)),
        ("rotate:7.5", Rotate(7.5)),
        ("rotate:30,shift:3", Rotate(30, 3)),
        (" Rotate: 30, step:2 , shift:3", Rotate(30, 3, 2.0)),
        ("shift:3", Shift(3)),
        ("flow:1", Flow(1)),
        ("flow:1/2", Flow(0.5)),
        ("colour:5", Colour(5)),
        ("ssim:0.1", Ssim(0.1)),
        ("corrupt:3", Corrupt(3)),
        ("corrupt:5,fog,jpeg", Corrupt(5, ("fog", "jpeg"))),
    ],
)
def test_round_trip(text, threat):
    assert parse_threat(text) == threat
    assert parse_threat(str(threat)) == threat
    assert hash(threat) == hash(parse_threat(text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rotate", "rotate:30"),
        ("rotat:30", '"rotate"'),
        ("color:5", '"colour"'),
        ("rotate:30,shift:3,shift:2", "at most once"),
        ("rotate:30,flip:1", "at most once"),
        ("rotate:nan", "finite"),
        ("rotate:200", "at most 180"),
        ("shift:1.5", "whole"),
        ("flow:1,2", "one size"),
        ("corrupt:3,hail", "unknown corruption"),
        ("corrupt:9", "0 to 5"),
        ("colour:5@8bit", "only a norm"),
        ("edits:2@8bit", "only a norm"),
        ("rotate:3&linf:1", "two norm threats"),
        ("features:0.5", "from Python"),
        ("linf:8/255,shift:3", "one size"),
    ],
)
def test_refused_with_a_remedy(text, says):
    with pytest.raises(UsageError, match=says):
        parse_threat(text)


@pytest.mark.parametrize("text", ["rotate:30,shift:3", "shift:1", "flow:1", "colour:5", "ssim:0.1", "corrupt:3,fog"])
def test_another_size(text):
    threat = parse_threat(text)
    assert eps_of(with_eps(threat, 2)) == 2
    assert eps_of(with_eps(threat, 0)) == 0
    assert with_eps(threat, eps_of(threat)) == threat


def test_a_size_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="whole"):
        with_eps(Shift(1), 0.5)
    with pytest.raises(UsageError, match="no angle but 0"):
        with_eps(Rotate(10), 0.5)
