"""The benchmarks of bounds: the same inputs whatever their company, and a bracket with the seconds of its two sides."""

import pytest
from bench.bounds import timed
from bench.brackets import OWN, audited
from bench.subjects import LOADER

from robustly.adapters.models import load_model
from robustly.zoo import load as zoo


def test_company_changes_seconds_and_no_verdict():
    model = load_model("zoo:fashion_certified", range=(0.0, 1.0), classes=10)
    x, y, _ = zoo.images()
    alone, together = (timed(model, x[:6], y[:6], 0.1, n) for n in (1, 6))
    assert alone[1] == together[1] > 0
    assert min(alone[0], together[0]) > 0


@pytest.mark.skipif(not LOADER.exists(), reason="the shared data is absent")
def test_seconds_are_told_by_stage():
    record, seconds = audited(OWN[1], 10, "fast")
    assert record.summary.examples == 10
    assert {"clean", "fgsm", "interval"} <= set(seconds)
    assert all(s >= 0 for s in seconds.values())
