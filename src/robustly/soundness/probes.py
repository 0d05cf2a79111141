"""Probes of a model on a few clean inputs: is it random, does it mix its batch, does it hide its gradient?

Each costs a few passes, which are counted. What they find is said in the record; it never changes a verdict in the
model's favour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustly.core.errors import ModelRaised
from robustly.core.rows import cut
from robustly.goals import Goal
from robustly.losses import cross_entropy
from robustly.oracle import Access, Model, Oracle
from robustly.threats.base import PerturbationSet

PROBED = 8
"""Inputs a probe looks at."""


@dataclass(frozen=True)
class Findings:
    """What the probes saw. model: the model to go on with (asked row by row if it mixes its batch).

    random: repeated calls differ. warnings: sentences for the record. forward, backward: passes spent.
    """

    model: Model
    random: bool
    warnings: tuple[str, ...]
    forward: int
    backward: int


def probe(model: Model, around: PerturbationSet, goal: Goal) -> Findings:
    """Run all probes on the first rows of a set for which the model doesn't raise; a model of labels only is asked for
    repeatability alone.

    around, goal: of all examples; only the first PROBED of them are used.
    """
    index = torch.arange(min(PROBED, len(around)))
    around, goal, first, forward = _answering(model, around.take(index), goal.take(index))
    if first is None:
        return Findings(model, False, ("the model raised on every probed input, so it was not probed.",), forward, 0)
    count = len(around)
    warnings: list[str] = []
    forward += count
    random = not torch.equal(torch.nan_to_num(first), torch.nan_to_num(model.ask(around.x)))
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
        scale = float(torch.nan_to_num(first, posinf=0.0, neginf=0.0).abs().max())
        if not torch.allclose(alone, first, rtol=1e-3, atol=1e-3 * scale, equal_nan=True):
            model = replace(model, chunk=1)
            warnings.append(
                "the model's answer depends on the other rows of a batch (batch statistics, a call counter or state): "
                "it is asked one example at a time from here on."
            )
    spent, said = _gradient(model, around, goal)
    return Findings(model, random, (*warnings, *said), forward + spent, spent)


def _answering(model: Model, around: PerturbationSet, goal: Goal) -> tuple[PerturbationSet, Goal, Tensor | None, int]:
    """The rows the model answers, its answer to them, and the passes it took to find out."""
    try:
        return around, goal, model.ask(around.x), len(around)
    except ModelRaised:
        good = []
        for i in range(len(around)):
            try:
                model.ask(cut(around.x, slice(i, i + 1)))
            except ModelRaised:
                continue
            good.append(i)
    spent, index = 2 * len(around) + len(good), torch.tensor(good, dtype=torch.int64)
    if not good:
        return around, goal, None, spent
    return around.take(index), goal.take(index), model.ask(around.take(index).x), spent


def _gradient(model: Model, around: PerturbationSet, goal: Goal) -> tuple[int, list[str]]:
    """Passes and warnings of one gradient of the cross entropy at the clean inputs."""
    if model.access < Access.GRADIENTS or not isinstance(around.x, Tensor):
        return 0, []
    oracle = Oracle(model, around, goal, press_on=True)
    oracle.gradient(around.x, cross_entropy)
    flat, count = int(oracle.ledger.flat.sum()), len(around)
    if 2 * flat < count:
        return count, []
    said = (
        f"masked gradients: {flat} of {count} probed inputs have a zero or non-finite gradient (saturated scores, "
        "quantisation, a non-differentiable part). Gradient attacks are blind there; trust the query attacks only."
    )
    return count, [said]
