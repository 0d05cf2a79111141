"""A certificate by asking the model about every member of a set that can be counted off."""

from __future__ import annotations

import torch

from robustly.certify.types import Bound, Certifier, abstain
from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle.model import Access, Model
from robustly.threats.base import PerturbationSet
from robustly.threats.enumerated import Enumerated

UNSURE = 1e-6
"""A margin counts less this share of the largest score: what another batch size may change in float32."""


@spec("certifier", needs="scores", sets=("Enumerated",))
def exhaustive(most: int = 10_000) -> Certifier:
    """The least margin over all members, which is exact: a set whose members are few can simply be asked.

    Needs no network, only scores; costs one forward pass for each member. Sets of more than `most` members, and all
    others, are left open.

    Raises:
        UsageError: most < 1.
    """
    if most < 1:
        raise UsageError(f"most must be at least 1, got {most}.")

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        if not isinstance(around, Enumerated):
            return abstain(goal, f"the members of a {type(around).__name__} cannot be counted off")
        if around.count > most:
            return abstain(goal, f"the set has {around.count} members, more than {most}")
        if model.access < Access.SCORES:
            return abstain(goal, "the model gives labels only, and no margin")
        lower = torch.full((len(goal),), torch.inf, dtype=torch.float64, device=goal.y.device)
        for number in range(around.count if len(goal) else 0):
            scores = model.ask_all(around.member(number).clone())  # a model may write into its input
            sure = goal.margin(scores).double() - UNSURE * scores.abs().amax(1).double()
            finite = torch.isfinite(scores).all(1)
            lower = torch.minimum(lower, torch.where(finite, sure, -torch.inf))
        why = tuple(None if v > 0 else "a member of the set has a margin that is not above 0" for v in lower.tolist())
        return Bound(lower, why, around.count)

    return certify
