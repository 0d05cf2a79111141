"""The door to the model: what it counts, whom it asks, and what it takes for evidence."""

import pytest
import torch

from robustly.core.errors import AccessError, ModelRaised, UsageError
from robustly.goals import Goal
from robustly.losses import cross_entropy
from robustly.oracle import Access, Limits, Model, Oracle
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)
X = torch.tensor([[0.2, 0.5], [0.4, 0.5], [0.9, 0.1]])
Y = torch.tensor([0, 0, 1])


def call(z):
    """Class 0 where the first number is below 0.5."""
    return torch.stack((0.5 - z[:, 0], z[:, 0] - 0.5), 1)


def oracle(eps=0.2, model=None, **arguments):
    return Oracle(model or Model(call, UNIT, classes=2), Linf(eps).at(X, UNIT), Goal(Y), **arguments)


def test_evidence_is_asked_inside_and_adversarial():
    door = oracle()
    z = X.clone()
    z[:, 0] = torch.tensor([0.35, 0.59, 0.3])  # still right; wrong and inside; wrong but outside
    door.scores(z)
    assert door.ledger.hit.tolist() == [False, True, False]
    assert torch.equal(door.ledger.point[1], z[1])
    assert door.ledger.distance[1] == pytest.approx(0.19, abs=1e-6)
    assert door.ledger.forward.tolist() == [1, 1, 1]


def test_decided_rows_are_not_asked_again_unless_pressed_on():
    z = X.clone()
    z[1, 0] = 0.59
    for press_on, forward in ((False, [2, 1, 2]), (True, [2, 2, 2])):
        door = oracle(press_on=press_on)
        door.scores(z)
        door.scores(z)
        assert door.ledger.forward.tolist() == forward


def test_pressing_on_keeps_the_nearest():
    door = oracle(press_on=True)
    for value in (0.59, 0.55, 0.57):
        z = X.clone()
        z[1, 0] = value
        door.scores(z)
    assert door.ledger.distance[1] == pytest.approx(0.15, abs=1e-6)


def test_a_gradient_is_one_pass_of_each_kind_and_its_forward_is_evidence():
    door = oracle()
    z = X.clone()
    z[1, 0] = 0.59
    answer = door.gradient(z, cross_entropy)
    assert door.ledger.forward.tolist() == door.ledger.backward.tolist() == [1, 1, 1]
    assert door.ledger.hit.tolist() == [False, True, False]
    assert torch.allclose(answer.scores, call(z))
    expected = torch.nn.functional.cross_entropy(call(z), Y, reduction="none")
    assert torch.allclose(answer.value, expected)
    assert answer.grad.shape == z.shape
    assert (answer.grad[:2, 0] > 0).all()


def test_where_asks_only_those():
    door = oracle()
    door.scores(X, where=torch.tensor([True, False, False]))
    assert door.ledger.forward.tolist() == [1, 0, 0]


def test_a_window_on_some_rows_writes_in_the_same_ledger():
    door = oracle()
    part = door.take(torch.tensor([2, 1]))
    z = X[[2, 1]].clone()
    z[1, 0] = 0.59
    part.scores(z)
    assert door.ledger.forward.tolist() == [0, 1, 1]
    assert door.ledger.hit.tolist() == [False, True, False]


def test_proposals_are_charged_to_their_owner_and_stop_at_the_budget():
    door = oracle(limits=Limits(2))
    owner = torch.tensor([1, 1, 1, 0])
    candidates = X[owner].clone()
    candidates[:, 0] = torch.tensor([0.45, 0.57, 0.55, 0.2])
    made = door.propose(candidates, owner)
    assert made.asked.tolist() == [True, True, False, True]
    assert door.ledger.forward.tolist() == [1, 2, 0]
    assert door.ledger.hit.tolist() == [False, True, False]
    assert door.ledger.distance[1] == pytest.approx(0.17, abs=1e-6)


def test_of_several_proposals_the_nearest_is_kept():
    door = oracle()
    owner = torch.tensor([1, 1, 1])
    candidates = X[owner].clone()
    candidates[:, 0] = torch.tensor([0.58, 0.53, 0.55])
    door.propose(candidates, owner)
    assert door.ledger.distance[1] == pytest.approx(0.13, abs=1e-6)


@pytest.mark.parametrize("access", [Access.SCORES, Access.LABELS])
def test_hits_tell_only_whether_the_goal_is_met_and_stop_at_the_budget(access):
    door = oracle(model=Model(call, UNIT, classes=2).granting(access), limits=Limits(2))
    owner = torch.tensor([1, 1, 1, 0])
    candidates = X[owner].clone()
    candidates[:, 0] = torch.tensor([0.45, 0.57, 0.55, 0.9])  # the last is adversarial, but outside the set
    made = door.hits(candidates, owner)
    assert made.met.tolist() == [False, True, False, True]
    assert made.asked.tolist() == [True, True, False, True]
    assert door.ledger.forward.tolist() == [1, 2, 0]
    assert door.ledger.hit.tolist() == [False, True, False]


def test_nan_is_never_robust():
    def lost(z):
        return torch.where(z[:, :1] > 0.3, float("nan"), 0.0) + call(z)

    door = oracle(model=Model(lost, UNIT, classes=2))
    z = X.clone()
    z[0, 0] = 0.35
    door.scores(z)
    assert door.ledger.hit[0]
    assert door.ledger.odd[0]


def test_a_tie_is_evidence_but_the_search_goes_on():
    door = oracle(model=Model(lambda z: torch.zeros(len(z), 2), UNIT, classes=2))
    door.scores(X)
    assert door.ledger.hit.all()
    assert door.open.all()


def test_labels_only_gives_labels_and_nothing_else():
    model = Model(lambda z: call(z).argmax(1), UNIT, Access.LABELS, classes=2)
    door = oracle(model=model)
    z = X.clone()
    z[1, 0] = 0.59
    assert door.labels(z).tolist() == [0, 1, 1]
    assert door.ledger.hit.tolist() == [False, True, False]
    for refused in (door.scores, lambda z: door.gradient(z, cross_entropy)):
        with pytest.raises(AccessError, match="labels"):
            refused(z)


def test_a_graph_that_is_cut_is_named():
    door = oracle(model=Model(lambda z: call(z).detach(), UNIT, classes=2))
    with pytest.raises(AccessError, match="no gradient flows"):
        door.gradient(X, cross_entropy)


def test_flat_and_broken_gradients_are_counted_and_harmless():
    door = oracle(model=Model(lambda z: call(z.round()) + torch.zeros_like(z), UNIT, classes=2))
    assert torch.equal(door.gradient(X, cross_entropy).grad, torch.zeros_like(X))
    assert door.ledger.flat.tolist() == [1, 1, 1]
    door = oracle(model=Model(lambda z: call(z) + (z * 0).sqrt().sum(1, keepdim=True) * 0, UNIT, classes=2))
    assert torch.isfinite(door.gradient(X, cross_entropy).grad).all()


def test_a_model_that_raises_is_named():
    def bad(z):
        raise ValueError("no such size")

    with pytest.raises(ModelRaised, match="ValueError: no such size"):
        oracle(model=Model(bad, UNIT)).scores(X)


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        Limits(0)


def test_chunks_change_nothing():
    whole, parts = oracle(), oracle(model=Model(call, UNIT, classes=2, chunk=2))
    a, b = whole.gradient(X, cross_entropy), parts.gradient(X, cross_entropy)
    assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True))
    assert torch.equal(whole.scores(X), parts.scores(X))
    assert torch.equal(whole.ledger.forward, parts.ledger.forward)


def three(z):
    """Three curved scores."""
    return torch.stack((z[:, 0] * z[:, 1], z[:, 0].square(), z[:, 1].exp()), 1)


def test_a_jacobian_is_one_forward_and_a_backward_a_label_and_its_forward_is_evidence():
    labels = torch.tensor([[0, 2], [1, 1], [2, 0]])
    door = oracle(model=Model(three, UNIT, classes=3), eps=0.0)
    scores, grads = door.jacobian(X, labels, torch.tensor([True, False, True]))
    assert door.ledger.forward.tolist() == [1, 0, 1]
    assert door.ledger.backward.tolist() == [2, 0, 2]
    a, b = X[0], X[2]
    expected = torch.stack(
        (
            torch.stack((torch.stack((a[1], a[0])), torch.stack((a[0] * 0, a[1].exp())))),
            torch.zeros(2, 2),
            torch.stack((torch.stack((b[0] * 0, b[1].exp())), torch.stack((b[1], b[0])))),
        )
    )
    assert torch.allclose(grads, expected)
    assert torch.allclose(scores[[0, 2]], three(X[[0, 2]]))
    assert not scores[1].any()
    assert door.ledger.hit.tolist() == [True, False, True]  # the forward was looked at


def test_a_jacobian_in_chunks_and_of_decided_rows():
    labels = torch.tensor([[0, 1]] * 3)
    whole, parts = (oracle(model=Model(three, UNIT, classes=3, chunk=c), press_on=True) for c in (0, 2))
    assert all(torch.equal(u, v) for u, v in zip(whole.jacobian(X, labels), parts.jacobian(X, labels), strict=True))
    door = oracle(model=Model(three, UNIT, classes=3))
    door.ledger.firm[:] = True
    scores, grads = door.jacobian(X, labels)
    assert scores.shape == (3, 3)
    assert grads.shape == (3, 2, 2)
    assert not scores.any()
    assert not grads.any()
    assert not door.ledger.forward.any()


def test_flat_and_broken_rows_of_a_jacobian():
    def odd(z):
        return torch.stack((z[:, 0] * 0, (z[:, 0] * 0).sqrt() * 0 + z[:, 1]), 1)

    door = oracle(model=Model(odd, UNIT, classes=2))
    _, grads = door.jacobian(X, torch.tensor([[0, 1]] * 3))
    assert torch.isfinite(grads).all()
    assert door.ledger.flat.tolist() == [1, 1, 1]
    with pytest.raises(AccessError, match="no gradient flows"):
        oracle(model=Model(lambda z: three(z).detach(), UNIT)).jacobian(X, torch.zeros(3, 1, dtype=torch.int64))


@pytest.mark.parametrize("first", [False, True])
def test_rows_that_are_not_asked_have_a_score_for_every_label(first):
    """Also where nobody said how many classes there are, before the model has answered and after."""
    door, goal, nobody = oracle(model=Model(call, UNIT)), Goal(Y), torch.zeros(3, dtype=torch.bool)
    if first:
        door.scores(X)
    owner = torch.zeros(0, dtype=torch.int64)
    assert goal.margin(door.scores(X, where=nobody)).tolist() == [0, 0, 0]
    assert goal.margin(door.gradient(X, cross_entropy, where=nobody).scores).tolist() == [0, 0, 0]
    assert goal.margin(door.jacobian(X, Y[:, None], where=nobody).scores).tolist() == [0, 0, 0]
    assert door.propose(X[:0], owner).scores.shape == (0, 2)
