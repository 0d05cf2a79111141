"""The least radius at which an attack still succeeds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.rows import put
from robustly.core.specs import spec
from robustly.steps.counts import at_least_one
from robustly.steps.types import Attack, Case
from robustly.threats.base import Sized
from robustly.threats.l0 import L0Ball

FIRST = 2.0**-6
"""Where nothing is known, the first radius, as a share of what covers the domain; it doubles until one succeeds."""
CLOSE = 1e-4
"""A bracket is narrow enough when its width is this share of its upper end."""


class Bracket(NamedTuple):
    """The least radius lies between, float64 (B,): nothing was found at `low`; `high` is the nearest find, or inf."""

    low: Tensor
    high: Tensor


@spec("attack", sets=("Ball", "GridSet", "BothSet"))
def least_radius(inner: Attack, times: int = 10) -> Attack:
    """An attack of fixed radius as one for the least distance, by bisection of eps for every example on its own.

    The attack runs `times` times, in a set of another radius each. The bracket's upper end is the distance of the
    nearest firm find, not the eps it was found with; finds of an attack before this one count. Where none is known the
    first radius is eps, or with eps = inf 1/64 of what covers the domain, doubled until one succeeds. Numbers of
    coordinates are bisected as whole numbers. A row costs at most `times` times as much as the attack, and none where
    its bracket is closed. Unless the oracle presses on, a row ends at its first find.

    Raises:
        UsageError: times < 1; when it runs, a set that has no radius to move, or eps = inf in an unbounded domain.
    """
    at_least_one((times, "times"))

    def attack(case: Case) -> None:
        around = case.around
        if not isinstance(around, Sized):
            raise UsageError(f"least_radius moves the radius of a norm ball, and {type(around).__name__} has none.")
        widest, whole = _widest(around), isinstance(around.core, L0Ball)
        bracket = _known(case, around)
        for index in range(times):
            eps = _next(bracket, around.eps, widest, whole)
            rows = (torch.isfinite(eps) & case.oracle.open).nonzero().squeeze(1)
            if not len(rows):
                return
            bracket = _tried(case.take(rows), inner, index, eps[rows], bracket, rows)

    return attack


def _known(case: Case, around: Sized) -> Bracket:
    """What the ledger has already: its nearest firm find. (That of a random model is the deepest, still a bound.)"""
    ledger, rows = case.oracle.ledger, case.oracle.rows
    found = ledger.firm[rows]
    return Bracket(torch.zeros_like(around.eps), torch.where(found, ledger.distance[rows], torch.inf))


def _next(bracket: Bracket, eps: Tensor, widest: Tensor, whole: bool) -> Tensor:
    """The radius to try, float64 (B,); infinite where the bracket is closed."""
    low, high = bracket
    most = torch.minimum(eps, widest)
    first = torch.where(torch.isfinite(eps), eps, FIRST * widest)
    growing = torch.minimum(torch.where(low > 0, 2 * low, first), most)
    out = torch.where(torch.isinf(high), growing, (low + high) / 2)
    if whole:
        out = torch.where(torch.isinf(high), out.ceil(), out.floor())
        closed = high - low <= 1
    else:
        closed = high - low <= CLOSE * high
    nowhere = torch.isinf(high) & (low >= most)
    return torch.where((closed & torch.isfinite(high)) | nowhere, torch.inf, out)


def _tried(case: Case, inner: Attack, index: int, eps: Tensor, bracket: Bracket, rows: Tensor) -> Bracket:
    """The bracket after the attack on these rows with these radii."""
    assert isinstance(case.around, Sized)
    smaller = case.around.resized(eps)
    oracle, found = case.oracle.within(smaller)
    inner(Case(smaller, case.goal, fold(case.key, index), oracle))
    high = torch.minimum(bracket.high[rows], found.distance)
    low = torch.where(torch.isinf(found.distance), eps, bracket.low[rows])
    return Bracket(put(bracket.low, rows, torch.minimum(low, high)), put(bracket.high, rows, high))


def _widest(around: Sized) -> Tensor:
    """The radius that covers the domain, float64 (B,); eps itself where the domain has no bounds.

    Raises:
        UsageError: neither has.
    """
    core = around.core
    low, high = core.resized(torch.full_like(core.eps, torch.inf)).box()
    wide = core.x.double()
    span = torch.maximum(high - wide, wide - low)
    bounded = torch.isfinite(span).flatten(1).all(1)
    if not (bounded | torch.isfinite(around.eps)).all():
        raise UsageError(
            f"least_radius with eps = inf needs a bounded input range, got {core.domain}: declare it, say range=(0, 1), "
            "or give an eps to start from."
        )
    corner = torch.where(high - wide >= wide - low, high, low)
    return torch.where(bounded, core.distance(torch.where(torch.isfinite(corner), corner, wide)), around.eps)
