"""Detection of query sequences: a query that lies close to many of the same account's earlier ones is an attack's.

Chen, Carlini & Wagner 2019, "Stateful Detection of Black-Box Adversarial Attacks", arXiv:1907.05587, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustly.core.errors import UsageError

Encoder = Callable[[Tensor], Tensor]
"""Inputs (B, ...) to points (B, D) of a space in which what an attacker asks in a row lies close together."""

K, RATE = 50, 0.001  # of the paper: neighbours, and the share of clean queries that may be flagged
MOST = 100_000
SLICE = 256


def pixels(z: Tensor) -> Tensor:
    """The input itself, (B, n): the paper's plain l2 detector."""
    return z.flatten(1).float()


@dataclass
class NearestQueries:
    """What one account has asked, as points; a query is flagged when its k nearest among them are near on average.

    encode: where distances are measured. threshold: flagged below this mean l2 distance to the k nearest (see
    `threshold_of`). k: neighbours; nothing is flagged before k queries are known. forgets: forget all at a detection, as
    the paper does, where a detected attacker goes on with a new account: the number of detections is then the number of
    accounts an attack costs. most: queries that are remembered; later ones replace the oldest.
    """

    encode: Encoder
    threshold: float
    k: int = K
    forgets: bool = False
    most: int = MOST
    _points: Tensor = field(default_factory=lambda: torch.empty(0, 0), repr=False)
    _asked: int = 0

    def __post_init__(self) -> None:
        if self.k < 1 or self.most < self.k:
            raise UsageError(f"k must be at least 1 and at most the queries remembered, got {self.k} of {self.most}.")

    def flag(self, z: Tensor) -> Tensor:
        """Bool (B,): is it an attack's? The queries z (B, ...) are taken one after the other, and all remembered."""
        with torch.no_grad():
            points = self.encode(z).detach().cpu()
        return torch.tensor([self._flag_one(point) for point in points], dtype=torch.bool)

    def _flag_one(self, point: Tensor) -> bool:
        known = min(self._asked, self.most)
        near = known >= self.k and _mean_of_nearest(point[None], self._points[:known], self.k).item() < self.threshold
        if near and self.forgets:
            self._asked = 0
            return True
        self._remember(point)
        return near

    def _remember(self, point: Tensor) -> None:
        room = len(self._points)
        if self._asked >= room and room < self.most:  # doubled, so that a query costs no copy of all before it
            grown = torch.empty(min(max(2 * room, 64), self.most), len(point), dtype=point.dtype)
            if room:
                grown[:room] = self._points
            self._points = grown
        self._points[self._asked % self.most] = point
        self._asked += 1


def threshold_of(clean: Tensor, encode: Encoder = pixels, k: int = K, rate: float = RATE) -> float:
    """The mean distance to the k nearest others below which a share `rate` of the clean inputs (N, ...) lies.

    It holds for an account that has asked N clean queries; with fewer, neighbours are farther and flags rarer. (The
    authors' code counts an input as its own neighbour, at distance 0; here only the others count.)

    Raises:
        UsageError: not more than k inputs, or a rate that is no fraction.
    """
    if len(clean) <= k:
        raise UsageError(f"a threshold for {k} neighbours needs more than {k} clean inputs, got {len(clean)}.")
    if not 0 <= rate <= 1:
        raise UsageError(f"the rate of false positives is a fraction between 0 and 1, got {rate:g}.")
    with torch.no_grad():
        points = torch.cat([encode(part).detach().cpu() for part in clean.split(SLICE)])
    means = [_mean_of_others(points, start, k) for start in range(0, len(points), SLICE)]
    return torch.cat(means).double().quantile(rate).item()


def nearest_queries(
    clean: Tensor, encode: Encoder = pixels, k: int = K, rate: float = RATE, forgets: bool = False
) -> Callable[[], NearestQueries]:
    """A maker of detectors, one for each account, with the threshold that clean inputs (N, ...) give.

    Raises:
        UsageError: see `threshold_of`.
    """
    threshold = threshold_of(clean, encode, k, rate)
    return lambda: NearestQueries(encode, threshold, k, forgets)


def _mean_of_nearest(points: Tensor, others: Tensor, k: int) -> Tensor:
    """Mean l2 distance (B,) of points (B, D) to the k nearest of others (N, D)."""
    far = torch.cdist(points, others, compute_mode="donot_use_mm_for_euclid_dist")
    return far.topk(k, dim=1, largest=False).values.mean(1)


def _mean_of_others(points: Tensor, start: int, k: int) -> Tensor:
    part = points[start : start + SLICE]
    far = torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist")
    far[torch.arange(len(part)), start + torch.arange(len(part))] = math.inf
    return far.topk(k, dim=1, largest=False).values.mean(1)
