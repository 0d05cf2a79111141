"""The picture of distance against passes."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from bench.curves import picture
from bench.distances import Reached

SVG = "{http://www.w3.org/2000/svg}"


def reached(who: str, passes: int, median: float) -> Reached:
    return Reached(who, "a<b", "steps 1 & 2", (median,), passes, 0)


def test_every_finite_median_has_its_dot_in_the_frame():
    mine = [reached("ours", 10, 0.5), reached("ours", 100, 0.2), reached("ours", 5, math.inf)]
    peers = [reached("Peer", 20, 0.7), reached("Peer", 400, 0.2)]
    root = ElementTree.fromstring(picture("l2", {"one": (mine, peers), "other": (mine, [])}))
    dots = root.findall(f"{SVG}circle")
    assert len(dots) == 6
    frame = root.find(f"{SVG}rect")
    assert frame is not None
    left, top, width, height = (float(frame.attrib[k]) for k in ("x", "y", "width", "height"))
    for dot in dots[:4]:
        assert left <= float(dot.attrib["cx"]) <= left + width
        assert top <= float(dot.attrib["cy"]) <= top + height


def test_fewer_passes_stand_left_and_nearer_points_low():
    root = ElementTree.fromstring(picture("l2", {"one": ([reached("ours", 10, 0.2)], [reached("Peer", 100, 0.9)])}))
    spots = {
        dot.attrib["fill"]: (float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter(f"{SVG}circle")
    }
    assert spots["#1268b3"][0] < spots["#c2540a"][0]
    assert spots["#1268b3"][1] > spots["#c2540a"][1]


def test_nothing_found_is_said():
    assert "no finite median" in picture("l0", {"one": ([reached("ours", 10, math.inf)], [])})
