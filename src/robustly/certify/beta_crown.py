"""Branch and bound on the signs of ReLUs as a certifier."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from robustly.certify.branching.search import Effort, split_relus
from robustly.certify.linear.bounds import Specs, bounds
from robustly.certify.linear.certifying import certifier
from robustly.certify.linear.crown import crown, effort
from robustly.certify.linear.enclosure import enclose
from robustly.certify.linear.program import Program
from robustly.certify.linear.region import Region
from robustly.certify.types import Certifier
from robustly.core.errors import UsageError
from robustly.core.specs import spec

RANGES, STEPS = 40, 30
"""What a search costs, roughly: so many times the hidden ranges, most of it before anything is split, and so many bounds a
sub-problem."""


@spec("certifier", paper="Wang et al. 2021, arXiv:2103.06624")
def beta_crown(leaves: int = 2000, seconds: float = 60.0) -> Certifier:
    """CROWN, then a search that splits ReLUs (beta-CROWN) for the margins that it leaves open: the tightest and dearest proof.

    Complete for small ReLU networks, given time. Each example ends after `leaves` sub-problems, or after `seconds` if these come
    first, with the best bound until then; where time decides, another run may get farther. For every network that `crown` takes;
    of other activations only the slopes are chosen. Holds for the model as it runs in float32, as `interval` does.

    Raises:
        UsageError: leaves < 1, or seconds not above zero.
    """
    if leaves < 1 or not seconds > 0:
        raise UsageError(f"leaves must be at least 1 and seconds above zero, got {leaves} and {seconds}.")

    def stage(program: Program, region: Region, specs: Specs) -> Tensor:
        rows = torch.arange(len(region)).split(1)
        return torch.cat([_searched(program, region.take(i), specs.take(i), leaves, seconds) for i in rows])

    def operations(program: Program, region: Region) -> Tensor:
        return RANGES * effort(program, region) + STEPS * float(leaves * program.work[-1])

    return certifier("beta_crown", [_by_intervals, _by_lines, stage], operations=operations)


def _by_intervals(program: Program, region: Region, specs: Specs) -> Tensor:
    return bounds(program, region, enclose(program, region), specs)[0]


def _by_lines(program: Program, region: Region, specs: Specs) -> Tensor:
    return bounds(program, region, crown(program, region), specs)[0]


def _searched(program: Program, region: Region, specs: Specs, leaves: int, seconds: float) -> Tensor:
    """Bounds (1, S) of one example, each function a question of its own; repeated ones are asked once."""
    count = specs.weights.shape[1]
    some, place = torch.unique(specs.weights[0].flatten(1), dim=0, return_inverse=True)
    first = torch.stack([(place == k).nonzero()[0, 0] for k in range(len(some))])
    whose = torch.zeros(len(first), dtype=torch.long)
    asked = Specs(specs.weights[0, first].unsqueeze(1), specs.constants[0, first].unsqueeze(1))
    end = time.monotonic() + seconds

    def look(points: Tensor, owner: Tensor) -> bool:
        """A corner that breaks the model ends a search that can't succeed; a corner of a ball's box need not be in the ball."""
        if region.balls:
            return False
        y = program(points.reshape(-1, *program.nodes[0].shape))
        value = (asked.weights[owner, 0] * y).flatten(1).sum(1) + asked.constants[owner, 0]
        return bool((value < 0).any())

    found = split_relus(
        program, region.take(whose), asked, look, lambda: time.monotonic() >= end, Effort(most=leaves, room=2.0**28)
    )
    assert found.least is not None
    return found.least[place].view(1, count)
