"""How what is known of an example adds up to a verdict at a size."""

import pytest

from robustly.auditing.findings import CLEAN, Finding, verdict
from robustly.core.errors import Contradiction

OPEN = Finding(eps=0.1, stage=CLEAN, index=0, outcome="open")


def found(outcome, eps, **more):
    return Finding(eps=eps, stage=more.pop("stage", 2), index=0, outcome=outcome, by="pgd", **more)


def at(findings, *sizes):
    return [verdict([OPEN, *findings], eps)[0] for eps in sizes]


def test_nothing_known_is_unknown_whatever_was_tried():
    assert at([found("open", 0.1), found("open", 0.2)], 0.05, 0.1, 0.3) == ["unknown"] * 3


def test_broken_is_broken_at_every_larger_size():
    assert at([found("broken", 0.1, distance=0.1)], 0.05, 0.1, 0.3) == ["unknown", "broken", "broken"]


def test_a_counterexample_counts_at_every_size_that_holds_it():
    near = found("broken", 0.3, distance=0.12)
    assert at([near], 0.1, 0.12, 0.2, 0.3) == ["unknown", "broken", "broken", "broken"]


def test_certified_is_certified_at_every_smaller_size():
    assert at([found("certified", 0.1, bound=0.5)], 0.0, 0.05, 0.1, 0.2) == ["certified"] * 3 + ["unknown"]


def test_certified_below_and_broken_above_is_no_contradiction():
    both = [found("certified", 0.1), found("broken", 0.2, distance=0.15)]
    assert at(both, 0.1, 0.12, 0.15, 0.2) == ["certified", "unknown", "broken", "broken"]


@pytest.mark.parametrize("distance", [0.1, 0.05])
def test_certified_and_broken_at_once_is_a_contradiction(distance):
    both = [found("certified", 0.1), found("broken", 0.1, distance=distance)]
    with pytest.raises(Contradiction, match="One of the two is wrong"):
        at(both, 0.1)
    assert verdict(both, 0.1, strict=False)[0] == "broken"


def test_the_nearest_counterexample_is_the_one_told():
    far, near = found("broken", 0.1, distance=0.09), found("broken", 0.2, distance=0.02)
    assert verdict([far, near], 0.2)[1] is near


@pytest.mark.parametrize("outcome", ["misclassified", "invalid"])
def test_what_is_wrong_on_the_clean_input_is_wrong_at_every_size(outcome):
    clean = found(outcome, 0.1, stage=CLEAN)
    assert [verdict([clean], eps)[0] for eps in (0.0, 0.1, 1.0)] == [outcome] * 3
