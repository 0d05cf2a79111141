"""Probes of a model on a few clean inputs: is it random, does it mix its batch, write into its input, hide its gradient?

Each costs a few passes, which are counted. What they find is said in the record; it never changes a verdict in the
model's favour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustly.core.errors import AccessError
from robustly.core.rows import Batch, cut
from robustly.goals import Goal
from robustly.losses import cross_entropy
from robustly.oracle import Access, Model, Oracle
from robustly.threats.base import PerturbationSet

PROBED = 8
"""Inputs a probe looks at."""


@dataclass(frozen=True)
class Findings:
    """What the probes saw. model: the model to go on with (copied inputs, single rows, less access), as found fit.

    random: repeated calls differ. warnings: sentences for the record. forward, backward: passes spent.
    """

    model: Model
    random: bool
    warnings: tuple[str, ...]
    forward: int
    backward: int


def probe(model: Model, around: PerturbationSet, goal: Goal) -> Findings:
    """Run all probes on the first rows of a set; labels-only models are asked for repeatability alone.

    around, goal: of the first examples; only PROBED of them are used.
    """
    count = min(PROBED, len(around))
    index = torch.arange(count)
    around, goal = around.take(index), goal.take(index)
    warnings: list[str] = []
    model, first = _unharmed(model, around.x, warnings)
    second = model.ask(around.x)
    forward = 2 * count
    random = not torch.equal(torch.nan_to_num(first), torch.nan_to_num(second))
    if random:
        warnings.append(
            "the model is random: the same input got different answers. Counterexamples are re-voted by the judge "
            "(broken if most of fresh answers are wrong), certificates are not sought; consider averaging over its noise."
        )
    if model.access == Access.LABELS:
        return Findings(model, random, tuple(warnings), forward, 0)
    if not random and count > 1:
        alone = torch.cat([model.ask(cut(around.x, slice(i, i + 1))) for i in range(count)])
        forward += count
        if not torch.allclose(alone, first, rtol=1e-3, atol=1e-3 * float(first.abs().max()), equal_nan=True):
            model = replace(model, chunk=1)
            warnings.append(
                "the model's answer depends on the other rows of a batch (batch statistics, a call counter or state): "
                "it is asked one example at a time from here on."
            )
    model, spent, said = _gradient(model, around, goal)
    return Findings(model, random, tuple([*warnings, *said]), forward + spent, spent)


def _unharmed(model: Model, x: Batch, warnings: list[str]) -> tuple[Model, Tensor]:
    """The answers to x, and the model wrapped to copy its input if it wrote into it."""
    if not isinstance(x, Tensor):
        return model, model.ask(x)
    given = x.clone()
    first = model.ask(given)
    if not torch.equal(given, x):
        call = model.call
        model = replace(model, call=lambda z: call(z.clone()))
        warnings.append("the model changes its input in place; it is given a copy.")
    return model, first


def _gradient(model: Model, around: PerturbationSet, goal: Goal) -> tuple[Model, int, list[str]]:
    """Model, passes and warnings after one gradient of the cross entropy at the clean inputs."""
    if model.access < Access.GRADIENTS or not isinstance(around.x, Tensor):
        return model, 0, []
    oracle = Oracle(model, around, goal, press_on=True)
    count = len(around)
    try:
        oracle.gradient(around.x, cross_entropy)
    except AccessError as error:
        return model.granting(Access.SCORES), count, [f"{error} Gradient attacks are left out; query attacks go on."]
    flat = int(oracle.ledger.flat.sum())
    if 2 * flat < count:
        return model, count, []
    return model, count, [
        f"masked gradients: {flat} of {count} probed inputs have a zero or non-finite gradient (saturated scores, "
        "quantisation, a non-differentiable part). Gradient attacks are blind there; trust the query attacks only."
    ]
