"""Certificates against patches for models that were defended against them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustly.certify.types import Bound, Certifier, abstain
from robustly.core.errors import UsageError
from robustly.core.specs import spec
from robustly.goals import Goal
from robustly.oracle.covers import Bands, Masking, said
from robustly.oracle.model import Model
from robustly.threats.base import PerturbationSet
from robustly.threats.patch import PatchSet

LIMIT = 10_000
"""Passes of the model behind the masks an image: some seconds of a residual network of 20 layers on one core."""


@spec("certifier", paper="Xiang et al. 2022, arXiv:2108.09135", needs="masks")
def double_masking(limit: int = LIMIT) -> Certifier:
    """PatchCleanser's certificate: under every pair of its masks the model reads the clean image rightly.

    Then whatever the patch, a mask covers it and the rest of the algorithm leads to that class (their theorem 1). The margin of a
    model of labels is 1 where they are right. Readings that rounding could change certify nothing.

    Takes a pass of the model behind the masks for every pair: 666 an image for 6 masks along each axis. Where that would be more
    than `limit`, none is made and the examples are left unknown.

    Raises:
        UsageError: a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"limit is a number of passes, at least 1; got {limit}.")

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        masking = model.structure
        if not isinstance(masking, Masking):
            return abstain(goal, "double masking certifies models made by robustly.cleansed(model, patch) alone")
        if not isinstance(around, PatchSet) or goal.target is not None or not len(goal):
            return abstain(goal, f"double masking is for patches that make an error, not for a {type(around).__name__}")
        if around.side > masking.patch:
            return abstain(goal, f"the model guards against patches of {masking.patch} pixels, not of {around.side}")
        masks = len(masking.hidden(*around.x.shape[2:]))
        pairs = masks * (masks + 1) // 2
        if pairs > limit:
            told = f"{masks} masks make {pairs} pairs, a pass of {masking.base.name} each, more than limit={limit}"
            return abstain(goal, f"{told}: take fewer masks along each axis")
        rows = [_pairs(masking, image, int(label)) for image, label in zip(around.x, goal.y, strict=True)]
        lower = torch.tensor([1.0 if why is None else -math.inf for why, _ in rows], dtype=torch.float64)
        spent = torch.tensor([passes for _, passes in rows], device=goal.y.device)
        return Bound(lower.to(goal.y.device), tuple(why for why, _ in rows), int(spent.max()), spent)

    return certify


def _pairs(masking: Masking, image: Tensor, label: int) -> tuple[str | None, int]:
    """Why not all pairs of masks are read as the label, None if they are; and passes of the base model."""
    masks = masking.hidden(*image.shape[1:])
    passes = 0
    for i in range(len(masks)):
        labels, clear = said(masking.base, image, masks[i:] | masks[i], masking.fill)
        passes += len(labels)
        wrong = ((labels != label) | ~clear).nonzero().flatten()
        if len(wrong):
            j = int(wrong[0])
            return f"under masks {i} and {i + j} the model says {int(labels[j])}, or is not sure of it", passes
    return None, passes


@spec("certifier", paper="Levine & Feizi 2020, arXiv:2002.10733", needs="bands")
def column_votes() -> Certifier:
    """De-randomised smoothing by columns: more votes ahead than the bands that a patch can touch could turn.

    A patch of m columns touches m + b - 1 bands of b columns; each can take a vote from one class and give it to another. Votes
    that rounding could change are counted as touched.
    """

    def certify(model: Model, around: PerturbationSet, goal: Goal) -> Bound:
        bands = model.structure
        if not isinstance(bands, Bands):
            return abstain(goal, "votes of bands certify models made by robustly.banded(model, width) alone")
        if not isinstance(around, PatchSet) or not len(goal):
            return abstain(goal, f"votes of bands are for patches, not for a {type(around).__name__}")
        height, width = around.x.shape[2:]
        touched = min(width, around.side + bands.width - 1) if around.side else 0
        hidden, lower, why = bands.hidden(height, width), [], []
        classes = model.classes or bands.base.classes or 0
        for i, image in enumerate(around.x):
            labels, clear = said(bands.base, image, hidden, bands.fill)
            size = max(classes, int(labels.max()) + 1, int(goal.y.max()) + 1, 2)
            votes = torch.bincount(labels[clear], minlength=size).double()[None]
            ahead = float(goal.take(slice(i, i + 1)).margin(votes))
            unsure = int((~clear).sum())
            lower.append(ahead - 2 * (touched + unsure))
            told = f"{ahead:g} votes ahead of {width}; a patch touches {touched} bands"
            why.append(None if lower[-1] > 0 else told + (f", and {unsure} votes are not sure" if unsure else ""))
        return Bound(torch.tensor(lower, dtype=torch.float64, device=goal.y.device), tuple(why), 1)

    return certify
