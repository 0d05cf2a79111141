"""The benchmark of least distances: its referee, its count of passes, its settings and its bars."""

from __future__ import annotations

import math

import pytest
import torch
from bench.distances import Reached
from bench.minnorm import compared, judged, reached
from torch import Tensor, nn

from bench import contenders
from robustly.core.specs import lookup


class Half(nn.Module):
    """Reads the brightness of the first of two pixels: class 1 above a half."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 10)."""
        lit = x.flatten(1)[:, 0] - 0.5
        return torch.stack([-lit, lit, *[lit * 0 - 9] * 8], dim=1)


@pytest.fixture
def dark() -> tuple[Tensor, Tensor]:
    x = torch.tensor([[0.2, 0.5], [0.4, 0.5], [0.3, 0.5]]).reshape(3, 1, 1, 2)
    return x, torch.zeros(3, dtype=torch.int64)


def test_the_referee_takes_only_misread_points_inside(dark):
    x, y = dark
    z = torch.tensor([[0.6, 0.8], [0.49, 0.5], [0.6, 1.4]]).reshape(3, 1, 1, 2)
    assert judged(Half(), "l2", x, y, z) == pytest.approx((0.5, math.inf, math.inf))
    assert judged(Half(), "l1", x, y, z)[0] == pytest.approx(0.7)
    assert judged(Half(), "l0", x, y, z)[0] == 2


def test_ours_reaches_the_border_and_every_pass_is_counted(dark):
    steps = 40
    got = reached(Half(), "l2", *dark, lookup("attack", "ddn").make(steps=steps), "ddn", f"steps {steps}")
    assert got.distances == pytest.approx((0.3, 0.1, 0.2), abs=0.02)
    assert min(got.distances) >= 0.1 - 1e-6
    assert got.backward == 3 * steps
    assert got.forward == 3 * (steps + 1)


@pytest.mark.parametrize("norm", contenders.NORMS)
def test_settings_differ_and_can_be_made(norm):
    mine = contenders.ours(norm)
    assert len({one.label for one in mine}) == len(mine)
    assert all(one.make() is not None for one in mine)
    peers = (*contenders.theirs(norm), *contenders.slow(norm))
    assert len({(one.peer, one.attack, one.label) for one in peers}) == len(peers)


def test_what_is_not_registered_is_left_out():
    assert contenders.Ours("no_such_attack", (("steps", 1),)).make() is None


def test_the_bar_is_the_best_peer_at_half_its_passes():
    peers = [Reached("A", "x", "10", (2.0,), 10, 10), Reached("B", "y", "100", (1.0,), 100, 100)]
    mine = [Reached("ours", "z", "1", (1.1,), 8, 2), Reached("ours", "z", "2", (0.5,), 101, 0)]
    row, bar = compared("l2", "some", mine, peers)
    assert (bar.measured, bar.holds) == (1.1, False)
    assert row[2:] == ("B y(100)", 1.0, 200, "z(1)", 1.1, 10, 1.1, 1.1)
    cheaper = [*peers, Reached("A", "x", "60", (1.05,), 60, 60)]
    assert compared("l2", "some", mine, cheaper)[0][-1] == 1.1 / 1.0
    assert compared("l2", "some", [*mine, Reached("ours", "z", "3", (0.9,), 100, 0)], cheaper)[0][-1] == 1.1 / 1.05
    assert compared("l2", "some", [Reached("ours", "z", "2", (0.9,), 100, 0)], peers)[1].holds
