"""The benchmark of stateful detectors: what it counts, by hand and on one attack."""

import math

import pytest
from bench.stateful import Sequence, asked, summed

from robustly.adapters.models import load_model
from robustly.attacks.noise import noise
from robustly.attacks.square import square
from robustly.defend.nearest import NearestQueries, pixels
from robustly.threats import Linf
from robustly.zoo.load import images, network


def test_sums_by_hand():
    done = [
        Sequence(100, 80, {"a": [51, 91]}),
        Sequence(200, math.inf, {"a": [71]}),
        Sequence(3, 3, {"a": []}),
        Sequence(97, 60, {"a": [70]}),
    ]
    detected, long, first, until, early, mean = summed(done, "a", counts_broken=True)
    assert (detected, long, first, until, early, mean) == (0.75, 1.0, 64.0, 100.0, 0.5, 100.0)
    assert summed(done[2:3], "a", counts_broken=False) == (0.0, None, None, None, None, 3.0)


@pytest.mark.parametrize(("name", "broken"), [("fashion_adversarial", False), ("fashion_plain", True)])
def test_one_attack_is_watched(name, broken):
    net = network(name)
    x, y, _ = images("fashion")
    row = int((net(x[:20]).argmax(1) == y[:20]).nonzero()[0])
    makers = {"eager": lambda: NearestQueries(pixels, 20.0, k=5), "deaf": lambda: NearestQueries(pixels, 0.0, k=5)}
    model = load_model(net, range=(0.0, 1.0), classes=10)
    found = asked(model, square(queries=30), Linf(0.4 if broken else 0.05), x[row : row + 1], y[row : row + 1], makers)
    assert math.isfinite(found.broken) is broken
    assert found.queries == (found.broken if broken else 30)
    assert found.detected == {"eager": list(range(6, found.queries + 1)), "deaf": []}


def test_a_batch_of_candidates_is_counted_one_by_one():
    net = network("fashion_adversarial")
    x, y, _ = images("fashion")
    model = load_model(net, range=(0.0, 1.0), classes=10)
    found = asked(model, noise(tries=7), Linf(0.05), x[:1], y[:1], {})
    assert found.queries == 7
