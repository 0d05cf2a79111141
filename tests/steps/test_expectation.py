"""Averages: what they cost, what they count as evidence, and that they find what single draws miss."""

import pytest
import torch

from robustly.attacks.pgd import pgd
from robustly.auditing.judge import judge
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Access, Ledger, Limits, Manner, Model, Noise, Oracle
from robustly.steps import Case, averaged, clean, expected, in_turn
from robustly.threats import L2, Domain, Linf

UNIT = Domain(0.0, 1.0)
B, N = 12, 16
X = torch.full((B, N), 0.5)
Y = torch.zeros(B, dtype=torch.int64)
IDS = [str(i) for i in range(B)]


def case_of(model, threat=None, **arguments):
    around, goal = (threat or Linf(0.1)).at(X, UNIT), Goal(Y)
    return Case(around, goal, keys.from_ids(0, IDS), Oracle(model, around, goal, **arguments))


def noisy(noise=1.0, bias=1.0, seed=0):
    """The margin is bias - sum(z - 0.5) + a large random linear function: its mean is broken by every z a bit up."""
    g = torch.Generator().manual_seed(seed)

    def call(z):
        slope = -1 + noise * torch.randn(z.shape, generator=g)
        m = bias + (slope * (z - 0.5)).sum(1)
        return torch.stack((m, torch.zeros_like(m)), 1)

    return Model(call, UNIT, classes=2)


def true_margin(z, bias=1.0):
    return bias - (z - 0.5).sum(1)


def test_every_draw_is_paid_and_averaged():
    model = noisy()
    case = case_of(model, press_on=True)
    door = case.oracle.asking(Manner(times=400))
    answer = door.gradient(X + 0.01, margin)
    assert (door.ledger.forward == 400).all()
    assert (door.ledger.backward == 400).all()
    assert torch.allclose(answer.grad, torch.ones(B, N), atol=0.3)
    assert answer.value.sub(-true_margin(X + 0.01)).abs().max() < 0.02
    door.scores(X)
    assert (door.ledger.forward == 800).all()
    assert door.jacobian(X, torch.zeros(B, 1, dtype=torch.int64)).grads.add(1).abs().max() < 0.3


def test_the_mean_gradient_reaches_what_single_draws_do_not():
    """The best member has a margin of 1 - 1.6; one draw's sign gradient is hardly better than a coin."""
    reached = {}
    for name, attack in (("alone", pgd(8, 0.25, margin, clean)), ("mean", expected(pgd(8, 0.25, margin, clean), 30))):
        ledger = Ledger(X, X.device, deepest=True)
        attack(case_of(noisy(2.0), press_on=True, ledger=ledger))
        reached[name] = true_margin(ledger.point)
    assert reached["mean"].mean() < -0.45
    assert reached["mean"].mean() < reached["alone"].mean() - 0.1


def test_a_lucky_draw_is_no_evidence_and_the_mean_ranks():
    """Margins +1 three times in four, else -2: adversarial in one draw of four, never for most."""
    g = torch.Generator().manual_seed(1)

    def call(z):
        lucky = torch.rand(len(z), generator=g) < 0.25
        m = torch.where(lucky, -2.0, 1.0) + 0 * z[:, 0]
        return torch.stack((m, torch.zeros_like(m)), 1)

    model = Model(call, UNIT, classes=2)
    plain, voted = case_of(model, press_on=True), case_of(model, press_on=True)
    pgd(60)(plain)
    expected(pgd(10), 41)(voted)
    assert plain.oracle.ledger.hit.all()
    assert not voted.oracle.ledger.hit.any()
    assert not judge(model, plain.around, plain.goal, plain.oracle.ledger.point, random=True).holds.all()
    mean = voted.oracle.ledger.best_margin
    assert (mean > -0.3).all()
    assert (mean < 0.7).all()


def test_labels_of_several_draws_are_the_commonest():
    answers = iter([[1, 0], [1, 1], [0, 0]])
    model = Model(lambda z: torch.tensor(next(answers)), UNIT, Access.LABELS)
    around, goal = Linf(0.1).at(X[:2], UNIT), Goal(Y[:2])
    door = Oracle(model, around, goal).asking(Manner(times=3))
    assert door.labels(X[:2]).tolist() == [1, 0]
    assert door.ledger.forward.tolist() == [3, 3]
    assert door.ledger.hit.tolist() == [True, False]


def test_nested_averages_multiply_and_budgets_hold():
    seen = []
    model = noisy()
    counting = Model(lambda z: seen.append(len(z)) or model.call(z), UNIT, classes=2)
    case = case_of(counting, press_on=True)
    expected(averaged(expected(pgd(2), 2), 3), 2)(case)
    assert (case.oracle.ledger.backward == 2 * 12).all()
    assert case.oracle.ledger.forward.sum() == sum(seen)
    for queries in (1, 5, 50):
        case = case_of(noisy(), limits=Limits(queries), press_on=True)
        in_turn(expected(pgd(9), 4), averaged(pgd(9), 3))(case)
        assert (case.oracle.ledger.forward <= queries).all()


def wavy(period=0.01, steepness=4.0):
    """A plane, m = 0.8 - sum(z - 0.5), under small waves with slopes steeper than its own."""
    phase = 2 * torch.pi * torch.rand(N, generator=torch.Generator().manual_seed(3))

    def call(z):
        far = z - 0.5
        waves = steepness * period / (2 * torch.pi) * torch.sin(2 * torch.pi * far / period + phase)
        m = 0.8 - (far + waves).sum(1)
        return torch.stack((m, torch.zeros_like(m)), 1)

    return Model(call, UNIT, classes=2)


def test_near_points_count_and_are_members():
    asked = []
    model = wavy()
    case = case_of(Model(lambda z: asked.append(z.detach().clone()) or model.call(z), UNIT, classes=2), threat=L2(0.3))
    averaged(pgd(3), 5, 0.5)(case)
    assert len(asked) == 3 * 5 + 1
    for z in asked:
        assert case.around.contains(z).all()
    assert len(torch.stack(asked[:5]).unique(dim=0)) == 5
    assert (case.oracle.ledger.backward == 15).all()


def test_the_mean_over_noise_is_the_gradient_of_the_smoothed_model():
    """A step of height 1 blurred over 2 size has the slope 1 / (2 size), which no single gradient shows."""
    size = 0.1

    def call(z):
        m = torch.sigmoid(2000 * (z[:, 0] - 0.5))
        return torch.stack((m, torch.zeros_like(m)), 1)

    case = case_of(Model(call, UNIT, classes=2), Linf(0.4), press_on=True)
    noise = Noise(4000, size / 0.4, case.key)
    answer = case.oracle.asking(Manner(noise=noise)).gradient(X + 0.05, margin)
    assert answer.grad[:, 0] == pytest.approx(-torch.full((B,), 5.0).numpy(), rel=0.5)
    assert case.oracle.gradient(X + 0.05, margin).grad[:, 0].abs().max() < 1e-6
    assert torch.allclose(answer.scores, call(X + 0.05))


def test_averages_see_the_plane_under_the_waves():
    """One gradient climbs the nearest wave; the mean over several waves is that of the plane."""
    margins = {}
    for name, attack in (("alone", pgd(6, 0.3, margin)), ("mean", averaged(pgd(6, 0.3, margin), 40, 0.5))):
        case = case_of(wavy(), press_on=True)
        attack(case)
        margins[name] = case.oracle.ledger.best_margin
    assert (margins["mean"] < -0.3).all()
    assert margins["mean"].mean() < margins["alone"].mean() - 0.3


@pytest.mark.parametrize("make", [lambda: expected(pgd(), 0), lambda: averaged(pgd(), 0)])
def test_none_are_refused(make):
    with pytest.raises(UsageError, match="at least 1, got 0"):
        make()


def test_infinite_sets_and_no_size_are_refused():
    with pytest.raises(UsageError, match="size"):
        averaged(pgd(), 3, 0.0)
    with pytest.raises(UsageError, match="finite eps"):
        averaged(pgd(), 3)(case_of(noisy(), Linf(torch.inf)))
