"""Models whose nearest adversarial point is known in closed form, for every norm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Ledger, Model, Oracle
from robustly.steps import Attack, Case
from robustly.threats import L0, L1, L2, Domain, Linf

THREATS = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
DUAL = {"linf": 1, "l2": 2, "l1": torch.inf}


@dataclass(frozen=True)
class Known:
    """A model, inputs it reads correctly, and how far the nearest adversarial point is, float64 (B,), by norm."""

    model: Model
    x: Tensor
    y: Tensor
    distance: dict[str, Tensor]


def binary(count: int = 40, n: int = 12, room: float = 6.0, spread: float = 1.0, bias: float = 0.05) -> Known:
    """Scores (0, <w, x> + b), x within spread / 2 and its domain within `room` of 0.

    The weights are a factor 1.8 apart, so that the l0 optimum changes the largest weights whatever room they have left.
    """
    g = torch.Generator().manual_seed(1)
    w = 1.8 ** -torch.arange(n, dtype=torch.float64)[torch.randperm(n, generator=g)]
    w *= torch.randint(2, (n,), generator=g) * 2 - 1
    x = (torch.rand(count, n, generator=g) - 0.5) * spread
    value = x.double() @ w + bias
    x, value = x[value.abs() > 0.05], value[value.abs() > 0.05]
    domain = Domain(-room, room)
    toward = -value.sign()[:, None] * w  # the direction that lowers the margin
    room = torch.where(toward > 0, domain.high - x.double(), x.double() - domain.low)
    distance = {norm: value.abs() / w.norm(dual) for norm, dual in DUAL.items()}
    distance["l0"] = _needed(w.abs() * room, value.abs())
    model = Model(lambda z: torch.stack((torch.zeros(len(z)), z @ w.float() + bias), 1), domain, classes=2)
    return Known(model, x, (value > 0).long(), distance)


def multiclass(count: int = 40, n: int = 12, classes: int = 5, room: float = 50.0) -> Known:
    """Scores W x; the distance is the least over the other classes of the gap over the dual norm."""
    g = torch.Generator().manual_seed(2)
    w = torch.randn(classes, n, generator=g, dtype=torch.float64)
    x = torch.randn(count, n, generator=g)
    scores = x.double() @ w.T
    y = scores.argmax(1)
    gap = scores.gather(1, y[:, None]) - scores
    distance = {}
    for norm, dual in DUAL.items():
        reach = (w[y][:, None] - w[None]).norm(dual, dim=2)
        distance[norm] = (gap / reach).scatter(1, y[:, None], torch.inf).amin(1)
    return Known(Model(lambda z: z @ w.T.float(), Domain(-room, room), classes=classes), x, y, distance)


def sphere(count: int = 40, n: int = 12, radius: float = 2.0, room: float = 20.0) -> Known:
    """Scores (0, |x|^2 - r^2), from outside the sphere: the nearest point inside is a convex problem for every norm."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(count, n, generator=g) * 1.5
    x = x[x.norm(dim=1) > 1.1 * radius]
    a = x.double().abs()
    squares = a.square().sort(1, descending=True).values
    distance = {
        "linf": _root(lambda e: (a - e[:, None]).clamp_min(0).square().sum(1) - radius**2),
        "l2": a.norm(dim=1) - radius,
        "l0": _needed(squares, squares.sum(1) - radius**2),
    }
    level = _root(lambda t: radius**2 - torch.minimum(a, t[:, None]).square().sum(1))
    distance["l1"] = (a - level[:, None]).clamp_min(0).sum(1)  # the largest coordinates come down to one level
    domain = Domain(-room, room)
    model = Model(lambda z: torch.stack((torch.zeros(len(z)), z.square().sum(1) - radius**2), 1), domain, classes=2)
    return Known(model, x, torch.ones(len(x), dtype=torch.int64), distance)


def no_nearer(known: Known, least: float) -> Known:
    """The inputs whose l2 distance is at least that."""
    keep = known.distance["l2"] >= least
    return Known(known.model, known.x[keep], known.y[keep], {n: d[keep] for n, d in known.distance.items()})


def attacked(known: Known, attack: Attack, norm: str, eps: Tensor | float, press_on: bool = False) -> Ledger:
    """What the attack finds within eps of each input."""
    around, goal = THREATS[norm](eps).at(known.x, known.model.domain), Goal(known.y)
    oracle = Oracle(known.model, around, goal, press_on=press_on)
    attack(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(known.x))]), oracle))
    return oracle.ledger


def straddling(distance: Tensor, by: float = 0.02) -> tuple[Tensor, Tensor]:
    """An eps a little below or above each distance in turn, and which are above, bool (B,)."""
    above = torch.arange(len(distance)) % 2 == 1
    return torch.where(above, distance * (1 + by), distance * (1 - by)), above


def _needed(gain: Tensor, wanted: Tensor) -> Tensor:
    """The least number of coordinates (B,) whose largest gains (B, n) sum up to what is wanted (B,)."""
    total = gain.sort(1, descending=True).values.cumsum(1)
    return (total < wanted[:, None]).sum(1).double() + 1


def _root(falling: Callable[[Tensor], Tensor]) -> Tensor:
    """Where a falling function of (B,) crosses zero, by bisection between 0 and 100."""
    probe = torch.zeros(1, dtype=torch.float64)
    count = len(falling(probe))
    low, high = torch.zeros(count, dtype=torch.float64), torch.full((count,), 100.0, dtype=torch.float64)
    for _ in range(100):
        middle = (low + high) / 2
        above = falling(middle) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return high
