"""The table of the twins."""

from __future__ import annotations

import pytest
from bench.subjects import LOADER, examples, model_of, subject

from bench import twins
from robustly.adapters.twin import KINDS

pytestmark = pytest.mark.skipif(not LOADER.exists(), reason="the data of the benchmarks are absent")


def test_a_line_a_twin_with_what_it_does_to_the_scores():
    lines = {line[1]: line for line in twins.compared(subject("fashion_plain"), 8, slow=False)}
    assert list(lines) == list(KINDS)
    assert lines["folded"][3] == "0.0e+00"  # nothing to fold: the same network
    assert float(lines["bf16"][3]) > 1e-4
    assert all(line[2] > 0 and line[4] >= 0.8 for line in lines.values())


def test_compiling_is_what_the_first_pass_takes_more(monkeypatch):
    took = iter((0.0, 5.0, 5.0, 6.0))
    monkeypatch.setattr(twins, "_spent", lambda: next(took))
    x, _ = examples(subject("fashion_plain"), 2)
    assert twins._compiling(model_of(subject("fashion_plain")).call, x) == 4.0
