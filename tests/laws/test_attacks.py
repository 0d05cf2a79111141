"""What holds for every attack in the registry, on every set it says it can walk in."""

import pytest
import torch

from robustly.auditing.judge import judge
from robustly.core.errors import AccessError
from robustly.core.rows import take
from robustly.oracle import Access, Limits, Oracle
from robustly.steps import Case

from .cases import attacks, key_of, problem, small_attack, threats_for

PAIRS = [pytest.param(e, t, id=f"{e.name} {t}") for e in attacks() for t in threats_for(e)]


def run(entry, threat, index=None, limits=None, press_on=False, seed=0, model=None):
    default, x, goal, ids = problem(threat)
    index = torch.arange(len(ids)) if index is None else torch.tensor(index)
    model = model or default
    goal = goal.take(index)
    around = threat.at(take(x, index), model.domain)
    oracle = Oracle(model, around, goal, limits=limits or Limits(), press_on=press_on)
    small_attack(entry)(Case(around, goal, key_of([ids[i] for i in index], seed), oracle))
    return oracle.ledger, around, goal, model


def counted(model):
    """The model, and a list that fills with the batch sizes it is asked."""
    from dataclasses import replace

    seen = []

    def call(z):
        seen.append(len(z))
        return model.call(z)

    return replace(model, call=call), seen


def test_there_are_attacks_to_hold_the_laws_on():
    assert len(PAIRS) >= 30


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_claims_survive_the_judge(entry, threat):
    ledger, around, goal, model = run(entry, threat)
    hits = ledger.hit.nonzero().squeeze(1)
    if len(hits):
        verdicts = judge(model, around.take(hits), goal.take(hits), take(ledger.point, hits))
        assert verdicts.holds.all()
        assert torch.allclose(verdicts.distance, ledger.distance[hits])
    assert (ledger.distance[~ledger.hit] == float("inf")).all()


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_same_seed_same_bits(entry, threat):
    a, b = run(entry, threat)[0], run(entry, threat)[0]
    assert torch.equal(a.forward, b.forward)
    assert torch.equal(a.distance, b.distance)
    assert a.point == b.point if isinstance(a.point, tuple) else torch.equal(a.point, b.point)


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_an_example_is_the_same_alone_and_in_any_batch(entry, threat):
    whole = run(entry, threat)[0]
    for index in ([0], [3], [5, 2]):
        part = run(entry, threat, index)[0]
        for local, i in enumerate(index):
            assert part.hit[local] == whole.hit[i]
            assert part.forward[local] == whole.forward[i]
            assert part.backward[local] == whole.backward[i]
            assert part.distance[local] == whole.distance[i]


@pytest.mark.parametrize("queries", [1, 3, 7])
@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_a_budget_is_never_exceeded_and_equals_what_the_model_saw(entry, threat, queries):
    model, seen = counted(problem(threat)[0])
    ledger = run(entry, threat, limits=Limits(queries), model=model)[0]
    assert ledger.forward.max() <= queries
    assert ledger.forward.sum() == sum(seen)


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_every_pass_is_counted(entry, threat):
    model, seen = counted(problem(threat)[0])
    ledger = run(entry, threat, model=model, press_on=True)[0]
    assert ledger.forward.sum() == sum(seen) > 0


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_access_is_refused_when_not_granted(entry, threat):
    needed = Access[entry.needs.upper()]
    if needed == Access.LABELS or entry.name in ("in_turn", "per_target", "restarts"):
        return
    model = problem(threat)[0].granting(Access(needed - 1))
    with pytest.raises(AccessError, match=needed.name.lower()):
        run(entry, threat, model=model)
