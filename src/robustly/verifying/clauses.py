"""Properties that are several disjunctions at once, too many to multiply out: proven by any one of them, broken by all together."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from robustly.verifying.network import Network
from robustly.verifying.properties import Polyhedron, Property, Region, Row, inward

TRIED = 24
"""Combinations that a search aims at, of each box."""


def several(task: Property) -> bool:
    """Has the property a region of more than one disjunction?"""
    return any(region.also for region in task.regions)


def faces(task: Property) -> tuple[Property, ...]:
    """The property with one disjunction of every region left and the others dropped, each in turn.

    Less is asked of a counterexample to these, so that there is none to the property itself where any of them has none.
    """
    count = max(1 + len(region.also) for region in task.regions)
    return tuple(replace(task, regions=tuple(_face(region, k) for region in task.regions)) for k in range(count))


def combinations(task: Property, network: Network) -> Property:
    """Some of the combinations, for a search to aim at: in every box the one that its middle is nearest to, and random ones."""
    draw = random.Random(0)
    return replace(task, regions=tuple(_combined(region, network, draw) for region in task.regions))


def _face(region: Region, k: int) -> Region:
    lists = (region.unsafe, *region.also)
    return replace(region, unsafe=lists[min(k, len(lists) - 1)], also=())


def _combined(region: Region, network: Network, draw: random.Random) -> Region:
    if not region.also:
        return region
    low, high = inward(region)
    y = network.ask((low / 2 + high / 2)[None])[0].astype(np.float64)
    lists = (region.unsafe, *region.also)
    found = [_joined(min(some, key=lambda p: max(_excess(row, y) for row in p)) for some in lists)]
    found += [_joined(draw.choice(some) for some in lists) for _ in range(TRIED - 1)]
    return replace(region, unsafe=tuple(dict.fromkeys(found)), also=())


def _joined(parts: Iterable[Polyhedron]) -> Polyhedron:
    return tuple(dict.fromkeys(row for part in parts for row in part))


def _excess(row: Row, y: np.ndarray) -> float:
    return sum(float(c) * float(y[k]) for k, c in row.terms) - float(row.most)
