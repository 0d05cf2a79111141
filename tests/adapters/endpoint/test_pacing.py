"""How fast requests leave, and how long they wait where the server asks for it."""

import time

import numpy as np
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Reply, Target

from robustly.adapters.endpoint.sending import seconds_asked


def test_a_rate_is_kept(asking):
    with Target() as target:
        one = asking(target.url, limits={"rate": 50, "concurrency": 8})
        one.ask(some(25), owners(25))
        times = np.array(target.times)
        assert times[-1] - times[0] >= 24 / 50 - 0.05
        slow = asking(target.url, limits={"examples_per_second": 100, "batch": 10})
        begun = time.monotonic()
        slow.ask(some(40, 1), owners(40))
        assert time.monotonic() - begun >= 0.3


def test_retry_after_is_honoured_and_capped(asking):
    with Target(lambda n, x: Reply(429, headers={"retry-after": "0.5"}) if n == 2 else None) as target:
        one = asking(target.url, limits={"wait": 5.0})
        one.ask(some(1), owners(1))
        one.ask(some(1, 1), owners(1))
        assert target.times[2] - target.times[1] >= 0.5
    with Target(lambda n, x: Reply(429, headers={"retry-after": "86400"}) if n == 2 else None) as target:
        one = asking(target.url, limits={"wait": 0.1})
        one.ask(some(1), owners(1))
        begun = time.monotonic()
        one.ask(some(1, 1), owners(1))
        assert time.monotonic() - begun < 2


def test_forms_of_retry_after():
    assert seconds_asked("3") == 3.0
    assert seconds_asked("Sat, 21 Nov 2026 10:00:07 GMT", "Sat, 21 Nov 2026 10:00:00 GMT") == 7.0
    for odd in ("-5", "soon", "nan", "inf", "Sat, 21 Nov 2026 09:00:00 GMT", "", None):
        assert seconds_asked(odd, "Sat, 21 Nov 2026 10:00:00 GMT") is None
