"""Every attack works at its least settings, on inputs of any shape, and on a single number."""

import inspect

import pytest
import torch

from robustly.attacks.pgd import pgd
from robustly.auditing.judge import judge
from robustly.core.rows import take
from robustly.goals import Goal
from robustly.oracle import Oracle
from robustly.steps import Case
from robustly.threats import Edits

from .cases import UNIT, attacks, inputs, key_of, problem, row_model, threats_for
from .test_attacks import PAIRS

LEAST = {
    "steps": 1, "binary_steps": 1, "queries": 1, "tries": 1, "width": 2, "targets": 1, "times": 1, "abreast": 1, "inner_steps": 1,
    "directions": 1,
}  # fmt: skip
NOT_EVERYWHERE = {"wider"}
"""Counts that only some sets allow; tests/attacks/test_apgd.py has this one."""
SHAPES = [(1,), (5,), (2, 9), (3, 2, 4), (1, 6, 1)]


def least_attack(entry, value=0):
    """A registered attack at its least settings, or `value` above them."""
    given = {}
    for name, parameter in inspect.signature(entry.make).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return entry.make(pgd(1 + value))
        if name in LEAST:
            given[name] = LEAST[name] + value
        elif parameter.default is parameter.empty:
            given[name] = pgd(1 + value)
    return entry.make(**given)


def attacked(attack, threat, model, x, goal, ids):
    around = threat.at(x, model.domain)
    oracle = Oracle(model, around, goal)
    attack(Case(around, goal, key_of(ids), oracle))
    ledger = oracle.ledger
    hits = ledger.hit.nonzero().squeeze(1)
    if len(hits):
        assert judge(model, around.take(hits), goal.take(hits), take(ledger.point, hits)).holds.all()
    assert not ledger.best_margin.isnan().any()
    assert (ledger.forward > 0).all()
    return ledger


@pytest.mark.parametrize("above", [0, 1, 2])
@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_least_settings_work(entry, threat, above):
    attacked(least_attack(entry, above), threat, *problem(threat))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("entry", [pytest.param(e, id=e.name) for e in attacks()])
def test_any_shape_works(entry, shape):
    x = inputs(6, shape)
    model = row_model(n=x[0].numel())
    y = model.ask(x).argmax(1)
    for threat in threats_for(entry, shape):
        if not isinstance(threat, Edits):
            attacked(least_attack(entry, 3), threat, model, x, Goal(y), [str(i) for i in range(6)])


def test_the_least_settings_cover_all_counts():
    """A new attack whose counts have other names is told here to add them."""
    for entry in attacks():
        counts = {k for k, v in entry.parameters.items() if isinstance(v, int) and not isinstance(v, bool)}
        assert counts <= set(LEAST) | NOT_EVERYWHERE, entry.name
    assert UNIT.low == 0
    assert torch.equal(inputs(3), inputs(3))
