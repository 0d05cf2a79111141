"""A model behind a detector, as an attack sees it through an oracle."""

import torch

from robustly.core import keys
from robustly.defend.guarded import Account, constant, guarded, honest, wrong
from robustly.defend.nearest import NearestQueries, pixels
from robustly.goals import Goal
from robustly.oracle.model import Access, Model
from robustly.oracle.oracle import Oracle
from robustly.threats import Linf

SCORES = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]])
FLAGGED = torch.tensor([True, False])


def test_replies():
    assert torch.equal(honest(SCORES, FLAGGED), SCORES)
    assert wrong(SCORES, FLAGGED).tolist() == [[1.0, 3.0, 2.0], [0.0, 5.0, 4.0]]
    assert constant(SCORES, FLAGGED).tolist() == [[1.0, 0.0, 0.0], [0.0, 5.0, 4.0]]
    labels = torch.tensor([2, 0, 0])
    assert wrong(labels, torch.tensor([True, True, False])).tolist() == [1, 1, 0]
    assert constant(labels, torch.tensor([True, True, False])).tolist() == [0, 0, 0]


def test_the_model_behind_it_is_asked_by_scores_and_every_row_is_seen():
    account = Account(NearestQueries(pixels, 0.5, k=1))
    inner = Model(call=lambda z: torch.stack((z.sum(1), 1 - z.sum(1)), 1))
    model = guarded(inner, account, wrong)
    assert model.access is Access.SCORES
    assert model.module is None
    z = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.1, 0.0]])
    assert torch.equal(model.ask(z)[:2], inner.ask(z)[:2])
    assert (account.queries, account.detected) == (3, [3])
    assert torch.equal(model.ask(z[1:2]), inner.ask(z[1:2]).flip(1))
    assert (account.queries, account.detected) == (4, [3, 4])
    assert guarded(inner.granting(Access.LABELS), account).access is Access.LABELS


def test_an_oracle_asks_it():
    account = Account(NearestQueries(pixels, 0.5, k=1))
    model = guarded(Model(call=lambda z: torch.stack((z.sum(1), 1 - z.sum(1)), 1)), account)
    x = torch.zeros(1, 2)
    around, goal = Linf(0.1).at(x, model.domain), Goal(torch.tensor([1]))
    oracle = Oracle(model, around, goal)
    for i in range(5):
        oracle.scores(around.sample(keys.from_ids(i, ["a"])))
    assert (account.queries, account.detected) == (5, [2, 3, 4, 5])
