"""The proofs that are tried on what the search leaves open, cheapest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from robustly.certify.boxes import boxes
from robustly.certify.branching.search import split_relus
from robustly.certify.linear.bounds import Specs
from robustly.certify.linear.lowering.lower import lower
from robustly.certify.linear.region import Region
from robustly.certify.lines import forward_lines, lines, sensitive_lines, tuned_lines
from robustly.certify.questions import Bounder, Questions
from robustly.certify.shallow.search import split_layer
from robustly.certify.splitting import Look, Searched, split_inputs

Make: TypeAlias = Callable[[nn.Module, int], Bounder]
"""Bounds of a network with so many inputs."""

Complete: TypeAlias = Callable[[nn.Module, Questions, Look, Callable[[], bool]], Searched]
"""A complete search: the network, the questions, where to show points, and whether the time is over."""


FEW = 12
"""Inputs for which forward lines are worth a try."""


@dataclass(frozen=True)
class Way:
    """A complete search under its name. inputs: the most inputs that it is used for. share: of the time that is left."""

    name: str
    search: Complete
    inputs: int = 10**9
    share: float = 1.0


@dataclass(frozen=True)
class Proofs:
    """bounds: named makers of bounds, cheapest first, each tried once on what is open. complete: tried in their order on the rest."""

    bounds: tuple[tuple[str, Make], ...]
    complete: tuple[Way, ...] = ()


def standard() -> Proofs:
    """What `verify` uses."""
    return Proofs(
        bounds=(("interval", boxes), ("CROWN", lines), ("alpha-CROWN", tuned_lines)),
        complete=(
            Way("ReLU splitting of one layer", by_layer),
            Way("input splitting", by_inputs, FEW, 0.5),
            Way("input splitting with forward lines", by_forward_lines, FEW, 0.8),
            Way("input splitting", by_inputs, 50, 0.9),
            Way("ReLU splitting", by_relus),
        ),
    )


def by_forward_lines(module: nn.Module, questions: Questions, look: Look, over: Callable[[], bool]) -> Searched:
    """The same with cheaper bounds, for very few inputs."""
    bound = forward_lines(module, questions.lower.shape[1])
    return split_inputs(questions, bound, look, over, batch=batch_of(module))


def by_inputs(module: nn.Module, questions: Questions, look: Look, over: Callable[[], bool]) -> Searched:
    """Branch and bound on the inputs with CROWN, boxes cut where the bound's derivative says."""
    bound = sensitive_lines(module, questions.lower.shape[1])
    return split_inputs(questions, bound, look, over, batch=batch_of(module))


def by_layer(module: nn.Module, questions: Questions, look: Look, over: Callable[[], bool]) -> Searched:
    """Branch and bound on the signs of a single layer of ReLUs.

    Raises:
        UnsupportedOperator: the network is no such.
    """
    program = lower(module, (questions.lower.shape[1],))
    specs = Specs(questions.rows, questions.offsets)
    return split_layer(program, Region(questions.lower, questions.upper), specs, look, over)


def by_relus(module: nn.Module, questions: Questions, look: Look, over: Callable[[], bool]) -> Searched:
    """Branch and bound on the signs of ReLUs with beta-CROWN."""
    program = lower(module, (questions.lower.shape[1],))
    specs = Specs(questions.rows, questions.offsets)
    return split_relus(program, Region(questions.lower, questions.upper), specs, look, over)


def batch_of(module: nn.Module) -> int:
    """Boxes at once: few for wide networks, whose tensors would leave the caches."""
    widest = max([max(p.shape) for p in module.parameters() if p.dim()], default=1)
    return max(16, min(512, 2**17 // widest))


ROOM = 2**24
"""Numbers of boxes, at the input or all the way, that are bounded at once."""


def in_parts(bound: Bounder, questions: Questions, index: Tensor, numbers: int) -> tuple[Tensor, Tensor]:
    """The best row of the questions `index` (Q,), and all their rows (Q, R), some at a time, for a network that makes so many
    numbers of one row."""
    alike = questions.lower.stride(0) == 0  # one box is bounded once, whatever is asked of it
    size = max(1, ROOM // (questions.lower.shape[1] if alike else numbers))
    parts = [bound(questions.take(i)).least for i in index.split(size)]
    least = torch.cat(parts) if parts else questions.offsets[:, :0]
    return least.amax(1), least
