"""What questions may cost: of a campaign, of an example, of a call; who pays."""

import pytest
import torch
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Reply, Target

from robustly.core.errors import UsageError
from robustly.oracle.remote import BUDGET


def test_a_budget_of_the_campaign_is_never_exceeded(asking):
    with Target(lambda n, x: Reply(503) if n % 3 == 0 else None) as target:
        one = asking(target.url, limits={"budget": 25, "concurrency": 8, "failures": 1000})
        replies = [one.ask(some(10, seed), owners(10)) for seed in range(5)]
        assert target.inputs == 25 == one.bill.sent
        assert one.ended == "the query budget ended"
        assert replies[-1].why[0] == (BUDGET, "the query budget ended")
        assert not replies[-1].answered.any()


def test_a_budget_of_an_example_is_its_own(asking):
    with Target() as target:
        one = asking(target.url, limits={"queries": 3})
        who = torch.tensor([0, 0, 0, 0, 0, 1, 1])
        replies = one.ask(some(7), who)
        assert replies.answered.tolist() == [True] * 3 + [False] * 2 + [True] * 2
        assert replies.why[3][0] == BUDGET
        assert not one.ended
        held = one.ask(some(2, 1), torch.tensor([1, 1]), held=1)
        assert not held.answered.any()
        assert one.ask(some(1, 2), torch.tensor([1])).answered.all()
        assert target.inputs == 6


def test_what_a_caller_allows_is_kept_with_retries_included(asking):
    with Target(lambda n, x: Reply(500) if n > 1 else None) as target:
        one = asking(target.url, limits={"retries": 9, "failures": 1000})
        one.ask(some(1), owners(1))
        replies = one.ask(some(2, 1), torch.tensor([0, 1]), left=torch.tensor([3, 1]))
        assert target.inputs == 1 + 3 + 1
        assert replies.spent.tolist() == [3, 1]
        assert [replies.why[row][0] for row in (0, 1)] == [BUDGET, BUDGET]


def test_an_equal_question_is_paid_by_whoever_can(asking):
    with Target() as target:
        one = asking(target.url, limits={"queries": 2}, check={"inputs": 2, "times": 1})
        one.settle(some(2), owners(2))
        one.ask(some(1, 1), torch.tensor([0]))  # example 0 has nothing left
        same = some(1, 2)
        replies = one.ask(torch.cat([same, same]), torch.tensor([0, 1]))
        assert replies.answered.all()
        assert one.spent_on(1) == 2
        assert target.inputs == 4 + 1 + 1


def test_a_budget_too_small_for_one_step(asking):
    with Target() as target:
        with pytest.raises(UsageError, match=r"a budget of 8 queries is too small for one step.*limits\.budget = 13"):
            asking(target.url, limits={"budget": 8}).settle(some(4), owners(4))
        with pytest.raises(UsageError, match="a budget of 1 query an example is too small"):
            asking(target.url, limits={"queries": 1}).settle(some(4), owners(4))
        assert target.requests == 0
