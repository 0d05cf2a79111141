"""Random search with square windows: scores only, no gradients."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import column
from robustly.core.specs import spec
from robustly.losses import margin
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Case, Start
from robustly.steps.counts import at_least_one
from robustly.steps.transforms import walkable
from robustly.steps.walk import still_open, zeros
from robustly.threats.ball import Ball
from robustly.threats.base import Domain, PerturbationSet
from robustly.threats.grid import GridSet
from robustly.threats.intersection import BothSet
from robustly.threats.l1 import L1Ball
from robustly.threats.l2 import L2Ball
from robustly.threats.linf import LinfBall

BLOCK = 64  # proposals whose random words are drawn at once
TILES = 5  # bumps along each side at the start for l2
SCHEDULE = ((10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128), (8000, 256))


class Frame(NamedTuple):
    """The set as images (B, C, H, W): x, its bounds, free (1 where a number can move, else 0); eps (B, 1, 1, 1)."""

    x: Tensor
    low: Tensor
    high: Tensor
    free: Tensor
    eps: Tensor


class Found(NamedTuple):
    """The best image of each example (B, C, H, W), its loss (B,), and whether it meets the goal, bool (B,)."""

    z: Tensor
    value: Tensor
    met: Tensor


@spec(
    "attack",
    paper="Andriushchenko et al. 2020, arXiv:1912.00049",
    needs="scores",
    sets=("LinfBall", "L2Ball", "L1Ball", "GridSet", "BothSet"),
)
def square(queries: int = 5000, p: float = 0.8, loss: Loss = margin, start: Start | None = None) -> Attack:
    """Random search: change one square window at a time, keep what raises the loss; the windows shrink as it goes.

    For linf, l2 and l1, also on a grid or cut by another ball. Inputs of shape (C, H, W) are images; any other shape is a
    line of numbers, in which a window is a stretch. Each example has its own windows. A surviving example costs
    `queries` forward passes, of which the start is the first.

    Args:
        queries: points asked an example; the schedule of the window sizes is stretched to it.
        p: share of the pixels in the first windows.
        loss: what must rise.
        start: where it begins instead of at the paper's stripes or bumps; from_surrogate(...) at a transferred point, which
            wants smaller first windows (p = 0.3), for a large one paints it over.

    Raises:
        UsageError: queries < 1, p not between 0 and 1; when it runs, a set other than linf, l2 or l1, or an
            infinite one.
    """
    at_least_one((queries, "queries"))
    if not 0 < p <= 1:
        raise UsageError(f"p is a share of the pixels, above 0 and at most 1, got {p:g}.")

    def attack(case: Case) -> None:
        ball = _ball(case.around)
        begin, change = WAYS[type(ball)]
        frame, draws = framed(ball), case.key
        found = Found(frame.x, zeros(case) - torch.inf, zeros(case) > 0)
        for index in range(queries):
            case, (frame, found, draws) = still_open(case, (frame, found, draws))
            if not len(case.key):
                return
            turn = (index - 1) % BLOCK
            if index and turn == 0:
                words = keys.bits(keys.fold(case.key, 1 + index // BLOCK), BLOCK * (5 + frame.x.shape[1]))
                draws = words.reshape(len(words), BLOCK, -1)
            if index:
                z = change(frame, found.z, draws[:, turn], p / shrinkage(index - 1, queries))
            else:
                z = begin(frame, keys.fold(case.key, 0)) if start is None else _begun(case, start, frame)
            found = _ask(case, z, loss, found)

    return attack


def _begun(case: Case, start: Start, frame: Frame) -> Tensor:
    """The point of a start, in the set, as images."""
    return walkable(case).project(cast(Tensor, start(case))).view_as(frame.x)


def shrinkage(index: int, queries: int) -> int:
    """By how much the windows' share of the pixels has shrunk after `index` of `queries` proposals (section 4.1)."""
    at = int(index / queries * 10000)
    return next((factor for end, factor in SCHEDULE if at <= end), 512)


def stripes(frame: Frame, key: Tensor) -> Tensor:
    """Linf: every column of every channel at its upper or lower bounds."""
    _, channels, _, width = frame.x.shape
    up = keys.bits(key, channels * width).reshape(-1, channels, 1, width) & 1
    return torch.where(up == 1, frame.high, frame.low)


def repaint(frame: Frame, z: Tensor, words: Tensor, share: float) -> Tensor:
    """Linf: every channel of a window at its upper or its lower bounds (algorithm 2).

    A draw that would change nothing is turned around, so that no query is wasted; the authors' code redraws it.
    """
    height, width = z.shape[2:]
    inside = _inside(words, *sides(share, height, width), height, width)
    up = (words[:, 5:, None, None] & 1) == 1
    same = (torch.where(up, frame.high, frame.low) == z) | ~inside
    up = up ^ column(same.flatten(1).all(1), up)
    return torch.where(inside, torch.where(up, frame.high, frame.low), z)


def bumps(frame: Frame, key: Tensor) -> Tensor:
    """L2: a grid of 5 by 5 bumps of random sign and orientation, of length eps together (section 3.4)."""
    return frame.x + frame.eps * _unit(_grid(frame, key, 2) * frame.free, (1, 2, 3))


def flecks(frame: Frame, key: Tensor) -> Tensor:
    """L1: the same grid, of bumps that sum up to the width of the range each, or to eps together, then projected.

    For l1 we follow the authors' code; their bumps have the width 1 of images, and may reach less than eps.
    """
    change = _grid(frame, key, 1) * frame.free
    width = torch.where(torch.isfinite(frame.high - frame.low), frame.high - frame.low, frame.eps)
    least = frame.eps / change.abs().sum((1, 2, 3), keepdim=True).clamp_min(1e-12)
    return _in_l1(frame, torch.maximum(width, least) * change)


def shift(frame: Frame, z: Tensor, words: Tensor, share: float) -> Tensor:
    """L2: empty one window, add a bump to another with the length that this and clipping set free (algorithm 3)."""
    channels, (first, second, fresh) = z.shape[1], _windows(z, words, share, 2)
    change = (z - frame.x).flatten(2)
    emptied = change.scatter(2, second, 0)
    rest = emptied.scatter(2, first, 0)
    freed = (change.square() - rest.square()).sum(2, keepdim=True).clamp_min(0)
    unused = (frame.eps[:, 0].square() - change.square().sum((1, 2), keepdim=True)).clamp_min(0) / channels
    fresh = (fresh + _unit(change.gather(2, first), 2)) * frame.free.flatten(2).gather(2, first)
    change = emptied.scatter(2, first, _unit(fresh, 2) * (freed + unused).sqrt())
    return frame.x + frame.eps * _unit(change, (1, 2)).view_as(z)


def hop(frame: Frame, z: Tensor, words: Tensor, share: float) -> Tensor:
    """L1: the same with lengths in l1; each channel gets what all of them set free, and the whole is projected."""
    channels, (first, second, fresh) = z.shape[1], _windows(z, words, share, 1)
    change = (z - frame.x).flatten(2)
    emptied = change.scatter(2, second, 0)
    rest = emptied.scatter(2, first, 0)
    freed = (change.abs() - rest.abs()).sum(2, keepdim=True).clamp_min(0)
    unused = (frame.eps[:, 0] - change.abs().sum((1, 2), keepdim=True)).clamp_min(0) / channels
    fresh = (fresh + _unit(change.gather(2, first), 2, 1)) * frame.free.flatten(2).gather(2, first)
    change = emptied.scatter(2, first, _unit(fresh, 2, 1) * (freed + unused) * channels)
    return _in_l1(frame, change.view_as(z))


WAYS = {LinfBall: (stripes, repaint), L2Ball: (bumps, shift), L1Ball: (flecks, hop)}


def _grid(frame: Frame, key: Tensor, p: int) -> Tensor:
    """Bumps of p-norm 1 and of random sign and orientation, 5 by 5 of them in each channel; (B, C, H, W)."""
    rows, channels, height, width = frame.x.shape
    h, w = max(height // TILES, 1), max(width // TILES, 1)
    down, across = min(TILES, height), min(TILES, width)
    words = keys.bits(key, down * across * (1 + channels)).reshape(rows, down * across, -1) & 1
    tiles = bump(h, w, p).to(frame.x)[words[:, :, 0]][:, :, None] * (2.0 * words[:, :, 1:, None, None] - 1)
    grid = tiles.reshape(rows, down, across, channels, h, w).permute(0, 3, 1, 4, 2, 5)
    grid = grid.reshape(rows, channels, down * h, across * w)
    top, left = (height - down * h) // 2, (width - across * w) // 2
    change = torch.zeros_like(frame.x)
    change[:, :, top : top + down * h, left : left + across * w] = grid
    return change


def _windows(z: Tensor, words: Tensor, share: float, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """The places of a window to fill and of one to empty, (B, C, h w), and a bump of random signs for the first."""
    _, channels, height, width = z.shape
    h, w = sides(share, height, width, least=3)
    first, second = (_places(words[:, at : at + 2], h, w, height, width).expand(-1, channels, -1) for at in (0, 2))
    fresh = bump(h, w, p).to(z).flatten(1)[words[:, 4] & 1][:, None] * (2.0 * (words[:, 5:, None] & 1) - 1)
    return first, second, fresh


def _in_l1(frame: Frame, change: Tensor) -> Tensor:
    """The point of the l1 ball nearest to x + change."""
    ball = L1Ball(frame.x, frame.eps.flatten().double(), frame.low, frame.high, Domain(), None)
    return ball.project(frame.x + change)


def sides(share: float, height: int, width: int, least: int = 1) -> tuple[int, int]:
    """Height and width of a window with that share of the pixels: a square where one fits, else the full shorter side.

    With least = 3 the sides are odd, as bumps for l2 want.
    """
    side = max(round(math.sqrt(share * height * width)), least)
    side += least == 3 and side % 2 == 0
    if side <= min(height, width):
        return side, side
    if height <= width:
        return height, min(max(round(share * width), least), width)
    return min(max(round(share * height), least), height), width


@cache
def bump(height: int, width: int, p: int = 2) -> Tensor:
    """Two halves of opposite sign, each highest in its middle, of p-norm 1: split across and split along, (2, h, w)."""
    across = torch.cat((_hill(height // 2, width, p), -_hill(height - height // 2, width, p)))
    along = torch.cat((_hill(width // 2, height, p), -_hill(width - width // 2, height, p))).T
    both = torch.stack((along if height == 1 else across, across if width == 1 else along))
    return both / both.flatten(1).norm(p, dim=1)[:, None, None]


def _hill(height: int, width: int, p: int) -> Tensor:
    """eta of section 3.4: d rows or columns (the more) from the middle, the sum of 1/k^2 over k > d; of length 1.

    For l1 the sum of 1/k^4, as in the authors' code.
    """
    down = (torch.arange(height) - height // 2).abs()[:, None]
    across = (torch.arange(width) - width // 2).abs()[None]
    far = torch.maximum(down, across)
    terms = torch.arange(1, max(height // 2, width // 2) + 2).double() ** (-2 if p == 2 else -4)
    hill = terms.flip(0).cumsum(0).flip(0)[far]
    return (hill / hill.flatten().norm(p).clamp_min(1e-12)).float()


def _unit(change: Tensor, over: int | tuple[int, ...], p: int = 2) -> Tensor:
    size = change.abs().sum(over, keepdim=True) if p == 1 else change.square().sum(over, keepdim=True).sqrt()
    return change / size.clamp_min(1e-12)


def _corner(words: Tensor, h: int, w: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Top and left of a window of each row, each (B, 1), uniform, from two words of 32 bits a row."""
    return (words[:, :1] * (height - h + 1)) >> 32, (words[:, 1:2] * (width - w + 1)) >> 32


def _inside(words: Tensor, h: int, w: int, height: int, width: int) -> Tensor:
    """Bool (B, 1, H, W): the pixels of a window."""
    top, left = _corner(words, h, w, height, width)
    down, across = (torch.arange(n, device=words.device) for n in (height, width))
    rows, columns = (down >= top) & (down < top + h), (across >= left) & (across < left + w)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _places(words: Tensor, h: int, w: int, height: int, width: int) -> Tensor:
    """Int64 (B, 1, h * w): the positions of a window's pixels in the flattened image."""
    top, left = _corner(words, h, w, height, width)
    down, across = (torch.arange(n, device=words.device) for n in (h, w))
    return ((top + down)[:, :, None] * width + (left + across)[:, None, :]).flatten(1)[:, None]


def _ask(case: Case, z: Tensor, loss: Loss, found: Found) -> Found:
    """Ask the members nearest to the images z; keep those of higher loss, and those that meet the goal first."""
    point = case.around.project(z.reshape(case.around.x.shape))  # type: ignore[attr-defined]
    scores = case.oracle.scores(point)
    value, met = loss(scores, case.goal), case.goal.met(scores)
    better = (value > found.value) | (met & ~found.met)
    kept = torch.where(column(better, z), point.view_as(z), found.z)
    return Found(kept, torch.where(better, value, found.value), found.met | met)


def framed(ball: Ball) -> Frame:
    """The ball's tensors as images."""
    inner = tuple(ball.x.shape[1:])
    image = inner if len(inner) == 3 else (1, 1, math.prod(inner))
    x, low, high = (t.reshape(-1, *image) for t in (ball.x, ball.low, ball.high))
    return Frame(x, low, high, (high > low).to(x.dtype), column(ball.radius, x))


def _ball(around: PerturbationSet) -> Ball:
    """The linf, l2 or l1 ball in which to search: the set itself, that under a grid, or the first of two.

    Raises:
        UsageError: there is none, or it is infinite.
    """
    ball = around.ball if isinstance(around, GridSet) else around.first if isinstance(around, BothSet) else around
    if not isinstance(ball, Ball) or type(ball) not in WAYS:
        raise UsageError(f"square searches linf, l2 and l1 balls, not {type(ball).__name__}; use pgd there, or noise.")
    if not torch.isfinite(ball.radius).all():
        raise UsageError("square needs a finite eps.")
    return ball
