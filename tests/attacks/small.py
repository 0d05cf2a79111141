"""A small problem for the tests of single attacks: a fixed two-layer network that reads every input correctly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Ledger, Model, Oracle
from robustly.steps import Attack, Case
from robustly.threats import Domain
from robustly.threats.base import Threat


@dataclass(frozen=True)
class Small:
    """Inputs in [0, 1] with the labels a smooth network of 4 classes gives them, and every point it was asked."""

    model: Model
    x: Tensor
    y: Tensor
    asked: list[Tensor]

    def run(
        self, attack: Attack, threat: Threat, goal: Goal | None = None, press_on: bool = False, seed: int = 0
    ) -> Ledger:
        """The ledger after the attack; `asked` starts anew."""
        self.asked.clear()
        around, goal = threat.at(self.x, self.model.domain), goal or Goal(self.y)
        oracle = Oracle(self.model, around, goal, press_on=press_on)
        attack(Case(around, goal, keys.from_ids(seed, [str(i) for i in range(len(self.x))]), oracle))
        return oracle.ledger

    def granting(self, access: Access) -> Small:
        return replace(self, model=self.model.granting(access))


def small(shape: tuple[int, ...] = (1, 6, 6), count: int = 24, low: float = 0.0, high: float = 1.0) -> Small:
    """The problem for inputs of that shape and range."""
    g = torch.Generator().manual_seed(5)
    n = int(torch.tensor(shape).prod())
    first, second = torch.randn(16, n, generator=g) * 2 / n**0.5, torch.randn(4, 16, generator=g)
    asked: list[Tensor] = []

    def call(z: Tensor) -> Tensor:
        asked.append(z.detach().clone())
        unit = (z.flatten(1) - low) / (high - low) - 0.5
        return torch.tanh(unit @ first.T) @ second.T

    model = Model(call, Domain(low, high), classes=4)
    x = low + (high - low) * torch.rand(4 * count, *shape, generator=g)
    scores = model.ask(x)
    clear = Goal(scores.argmax(1)).margin(scores).argsort(descending=True)[:count].sort().values  # far from the border
    x = x[clear]
    return Small(model, x, model.ask(x).argmax(1), asked)
