"""What is billed is what the model did, forward and backward, for every attack on every set; what is known isn't billed."""

import pytest
import torch

from robustly.attacks.pgd import pgd
from robustly.oracle import Oracle
from robustly.steps import Case, per_target, restarts
from robustly.threats import Linf

from .cases import key_of, problem
from .test_attacks import PAIRS, counted, run


class Turnstile(torch.autograd.Function):
    """Hands its input on, and tells a list how many rows came back through it."""

    @staticmethod
    def forward(ctx, z, seen):
        ctx.seen = seen
        return z.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.seen.append(len(grad))
        return grad, None


def watched(model):
    """The model, and a list that fills with the rows of each backward pass."""
    from dataclasses import replace

    seen = []
    return replace(
        model, call=lambda z: model.call(Turnstile.apply(z, seen) if isinstance(z, torch.Tensor) else z)
    ), seen


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_every_backward_pass_is_counted(entry, threat):
    model, seen = watched(problem(threat)[0])
    ledger = run(entry, threat, model=model, press_on=True)[0]
    assert ledger.backward.sum() == sum(seen)
    if entry.needs != "gradients":
        assert not seen


def test_clean_scores_are_asked_once_and_paid_once():
    model, x, goal, ids = problem(Linf(0.15))
    around = Linf(0.15).at(x, model.domain)
    attack = restarts(per_target(pgd(2), 2), 3)
    totals = {}
    for name, clean in (("asked", None), ("given", model.ask(x))):
        counting, seen = counted(model)
        oracle = Oracle(counting, around, goal, clean=clean, press_on=True)
        attack(Case(around, goal, key_of(ids), oracle))
        totals[name] = int(oracle.ledger.forward.sum())
        assert totals[name] == sum(seen)
    assert totals["asked"] == totals["given"] + len(x)
