import re

import numpy as np
import pytest
from tests.report.hostile import assert_inert
from tests.report.making import record_of, rows_of

from robustly.report.plots import bars, bracket_bar, stacked

LEFT, WIDTH = 24, 912


def boxes(picture: str) -> list[tuple[float, float, str]]:
    """(x, width, fill) of the rectangles that are no pattern."""
    found = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)".*?fill:([^;]+)', picture)
    return [(float(x), float(w), fill) for x, w, fill in found if "url" not in fill]


def test_the_bar_is_to_scale_and_in_order():
    record = record_of(rows_of("c" * 50 + "u" * 20 + "b" * 15 + "m" * 10 + "i" * 5))
    found = boxes(bracket_bar(record))
    assert [w / WIDTH for _, w, _ in found] == pytest.approx([0.5, 0.2, 0.15, 0.1, 0.05], abs=1e-4)
    assert [(x - LEFT) / WIDTH for x, _, _ in found] == pytest.approx([0, 0.5, 0.7, 0.85, 0.95], abs=1e-4)
    names = [re.search(r"--(\w+)", fill)[1] for _, _, fill in found]
    assert names == ["certified", "unknown", "broken", "misclassified", "invalid"]


def test_the_bracket_and_the_interval_are_drawn_where_they_are():
    record = record_of(rows_of("c" * 50 + "u" * 20 + "b" * 30))
    picture = bracket_bar(record)
    begin, end = re.search(r'd="M([\d.]+) \d+V\d+H([\d.]+)V', picture).groups()
    assert [float(begin), float(end)] == pytest.approx([LEFT + 0.5 * WIDTH, LEFT + 0.7 * WIDTH], abs=0.1)
    low, high = re.search(r'd="M([\d.]+) \d+H([\d.]+)M', picture).groups()
    s = record.summary.population
    assert [float(low), float(high)] == pytest.approx([LEFT + s.low * WIDTH, LEFT + s.high * WIDTH], abs=0.1)


@pytest.mark.parametrize("verdicts", ["", "c" * 9, "b" * 9, "i", "u"])
def test_text_stays_inside(verdicts):
    picture = bracket_bar(record_of(rows_of(verdicts)))
    assert_inert(picture)
    for x in re.findall(r'<text x="([\d.]+)"', picture):
        assert LEFT < float(x) < LEFT + WIDTH


def test_stacked():
    found = boxes(stacked((0.25, 0.5, 0.75)))
    assert [w for _, w, _ in found] == [100, 75, 50, 25]


def test_bars_stand_on_zero():
    found = re.findall(
        r'<rect x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', bars(np.array([1.0, -0.5]), -1, 1, "x")
    )
    assert [(float(y), float(h)) for y, h in found] == [(0, 48), (48, 24)]


def test_a_long_signal_keeps_its_peaks():
    x = np.zeros(10_000)
    x[7777] = 1.0
    found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', bars(x, -1, 1, "x"))
    assert len(found) == 96
    assert sum(float(y) == 0 for _, y in found) == 1
