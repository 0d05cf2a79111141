"""Views and transforms of transfer attacks against what they are in closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.attacks.small import small

from robustly.attacks.mifgsm import mifgsm
from robustly.attacks.transfer_pgd import transfer_pgd
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.specs import build
from robustly.goals import Goal
from robustly.losses import cross_entropy, difference
from robustly.oracle import Model, Oracle
from robustly.steps import Case, Pool, admix, di, momentum, patches, si, ssa, ti, variance
from robustly.steps.input_views import cosine
from robustly.steps.views import through
from robustly.threats import L2, Domain, Linf

UNIT = Domain(0.0, 1.0)


@pytest.fixture(autouse=True)
def seeded():
    """The same inputs in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def case_of(model: Model, x: torch.Tensor, y: torch.Tensor, eps: float = 0.1) -> Case:
    around, goal = Linf(eps).at(x, model.domain), Goal(y)
    return Case(
        around, goal, keys.from_ids(0, [str(i) for i in range(len(x))]), Oracle(model, around, goal, press_on=True)
    )


def linear(shape=(1, 6, 6), classes=3, domain=UNIT) -> tuple[Model, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    n = torch.Size(shape).numel()
    w = torch.randn(classes, n, generator=g)
    return Model(lambda z: z.flatten(1) @ w.T, domain, classes=classes), w


def asked_of(model: Model) -> tuple[Model, list]:
    asked = []

    def call(z):
        asked.append(z.detach().clone())
        return model.call(z)

    return replace(model, call=call), asked


def test_no_view_is_the_plain_gradient_and_one_pass():
    one = small()
    case = case_of(one.model, one.x, one.y)
    seen = through((), case, one.x, cross_entropy, case.key)
    assert torch.equal(seen.grad, case.oracle.gradient(one.x, cross_entropy).grad)
    assert (case.oracle.ledger.forward == 2).all()


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_scale_copies_of_a_linear_model_scale_its_gradient(low):
    """On W z the gradient of z_t - z_y is the same everywhere, so that the mean over copies is the mean of 1, 1/2, 1/4, ..."""
    model, w = linear(domain=Domain(low, 1.0))
    x, y = torch.rand(5, 1, 6, 6), torch.zeros(5, dtype=torch.int64)
    case = case_of(model, x, y)
    goal = Goal(y, torch.ones_like(y))
    case = case._replace(goal=goal)
    seen = through([si(4)], case, x, difference, case.key)
    expected = (w[1] - w[0]).view(1, 1, 6, 6) * (1 + 0.5 + 0.25 + 0.125) / 4
    assert torch.allclose(seen.grad, expected.expand_as(x), atol=1e-5)
    assert (case.oracle.ledger.backward == 4).all()


def test_scale_copies_go_towards_black():
    model, asked = asked_of(linear(domain=Domain(-1.0, 1.0))[0])
    x = torch.rand(3, 1, 6, 6)
    case = case_of(model, x, torch.zeros(3, dtype=torch.int64))
    through([si(3)], case, x, cross_entropy, case.key)
    for i, copy in enumerate(asked):
        assert torch.allclose(copy, -1 + (x + 1) / 2**i, atol=1e-6)


def test_the_gradient_through_views_is_that_of_the_mean_loss():
    """Against autograd through the whole, for a chain of all views at once, where no range cuts them."""
    one = small(shape=(2, 7, 5), count=6)
    x = 0.3 + 0.4 * one.x
    pool = Pool(0.2 * torch.rand(8, 2, 7, 5), torch.arange(8) % 4)
    views = [admix(pool, 2), di(0.6, 0.8), ssa(2, 0.1, 0.001), si(2)]
    model, asked = asked_of(replace(one.model, domain=Domain()))
    case = case_of(model, x, one.y)
    seen = through(views, case, x, cross_entropy, case.key)
    copies = [c.clone() for c in asked]
    assert len(copies) == 8
    point, total, number = x.clone().requires_grad_(), 0.0, 0
    for a in range(2):
        for s in range(2):
            for t in range(2):
                key, z = case.key, point
                for view, turn in zip(views, (a, 0, s, t), strict=True):
                    key = keys.fold(key, turn)
                    z = view.see(case, z, key, turn)
                assert torch.allclose(z, copies[number], atol=1e-6)
                number += 1
                total = total + cross_entropy(one.model.call(z), Goal(one.y)) / 8
    (grad,) = torch.autograd.grad(total.sum(), point)
    assert torch.allclose(seen.grad, grad, atol=1e-5)
    assert torch.allclose(seen.value, total.detach(), atol=1e-5)


def test_admix_with_nothing_mixed_in_is_the_plain_attack():
    one = small()
    pool = Pool(one.x[:5], one.y[:5])
    plain = one.run(mifgsm(6), Linf(0.1), press_on=True)
    mixed = one.run(transfer_pgd(6, views=[admix(pool, 1, share=0.0)], then=[momentum()]), Linf(0.1), press_on=True)
    assert torch.equal(plain.point, mixed.point)
    assert torch.equal(plain.best_margin, mixed.best_margin)


def test_admix_mixes_in_other_classes_only_and_each_of_them():
    model, asked = asked_of(linear()[0])
    x, y = torch.zeros(200, 1, 6, 6), torch.arange(200) % 3
    levels = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    pool = Pool(levels.reshape(-1, 1, 1, 1).expand(-1, 1, 6, 6).clone(), torch.tensor([0, 0, 1, 1, 2, 2]))
    case = case_of(model, x, y)
    through([admix(pool, 2, share=1.0)], case, x, cross_entropy, case.key)
    drawn = torch.stack(asked)[:, :, 0, 0, 0]
    which = (drawn[..., None] - levels).abs().argmin(2)
    assert (pool.y[which] != y).all()
    for label in range(3):
        assert set(which[:, y == label].flatten().tolist()) == set((pool.y != label).nonzero().flatten().tolist())
    assert not torch.equal(drawn[0], drawn[1])


def test_admix_needs_another_class():
    one = small()
    alone = Pool(one.x[:3], torch.full((3,), int(one.y[0])))
    with pytest.raises(UsageError, match="with other classes"):
        one.run(transfer_pgd(1, views=[admix(alone)]), Linf(0.1))


def test_diversity_is_the_resized_and_padded_picture():
    """Each row against torch's own bilinear resize, padded where its place says."""
    model, asked = asked_of(linear((1, 12, 12), domain=Domain(-1.0, 1.0))[0])
    x = torch.rand(40, 1, 12, 12)
    case = case_of(model, x, torch.zeros(40, dtype=torch.int64))
    through([di(0.5, 1.0)], case, x, cross_entropy, case.key)
    sizes = set()
    for row, seen in zip(x, asked[0], strict=True):
        inside = seen[0] > -1 + 1e-6
        top, left = int(inside.any(1).float().argmax()), int(inside.any(0).float().argmax())
        size = int(inside.any(1).sum())
        sizes.add(size)
        small_one = F.interpolate(row[None] + 1, size=(size, size), mode="bilinear", align_corners=False)[0]
        padded = F.pad(small_one, (left, 12 - size - left, top, 12 - size - top)) - 1
        assert torch.allclose(seen, padded, atol=1e-5)
    assert len(sizes) >= 5
    assert sizes <= set(range(6, 13))


def test_diversity_leaves_some_copies_alone():
    model, asked = asked_of(linear((1, 12, 12))[0])
    x = torch.rand(200, 1, 12, 12)
    case = case_of(model, x, torch.zeros(200, dtype=torch.int64))
    through([di(0.9, 0.5)], case, x, cross_entropy, case.key)
    same = (asked[0] == x).flatten(1).all(1).double().mean()
    assert 0.35 < same < 0.65


def test_the_spectrum_comes_back():
    x = torch.rand(3, 2, 7, 10)
    assert torch.allclose(cosine(cosine(x), back=True), x, atol=1e-6)
    assert torch.allclose(cosine(x).square().sum(), x.square().sum(), rtol=1e-5)
    flat = torch.ones(1, 1, 4, 4)
    assert torch.allclose(cosine(flat).flatten(), torch.tensor([4.0] + [0.0] * 15), atol=1e-6)


def test_spectrum_simulation_changes_every_coefficient_within_its_spread():
    model, asked = asked_of(linear((1, 8, 8))[0])
    x = 0.45 + 0.1 * torch.rand(50, 1, 8, 8)
    case = case_of(model, x, torch.zeros(50, dtype=torch.int64))
    through([ssa(1, 0.1, 0.0)], case, x, cross_entropy, case.key)
    ratio = cosine(asked[0])[:, 0, 0, 0] / cosine(x)[:, 0, 0, 0]
    assert ratio.min() >= 0.9 - 1e-4
    assert ratio.max() <= 1.1 + 1e-4
    assert ratio.std() > 0.03


def test_a_blurred_gradient_is_the_mean_of_shifted_gradients():
    one = small()
    case = case_of(one.model, one.x, one.y)
    g = torch.randn(4, 2, 9, 9)
    blurred, _ = ti(3, 1.0).update(case, (), g)
    bell = torch.exp(-torch.tensor([-1.0, 0.0, 1.0]).square() / 2)
    bell = bell / bell.sum()
    wide, expected = F.pad(g, (1, 1, 1, 1)), torch.zeros_like(g)
    for i in range(3):
        for j in range(3):
            expected += bell[i] * bell[j] * wide[:, :, i : i + 9, j : j + 9]
    assert torch.allclose(blurred, expected, atol=1e-6)
    assert torch.allclose(ti(1).update(case, (), g)[0], g)
    line = torch.zeros(2, 7)
    line[:, 3] = 1
    assert torch.allclose(ti(3, 1.0).update(case, (), line)[0][:, 2:5], bell.expand(2, -1))


def test_patches_push_what_is_cut_off_to_the_neighbours():
    """One pixel's step, three times eps long: what lies beyond eps moves the eight pixels around, by as much each."""
    x = torch.full((1, 1, 5, 5), 0.5)
    model, _ = linear((1, 5, 5))
    case = case_of(model, x, torch.zeros(1, dtype=torch.int64), eps=0.1)
    step = torch.zeros_like(x)
    step[0, 0, 2, 2] = 0.03
    change, total = patches(10.0).update(case, torch.zeros_like(x), step)
    expected = torch.zeros_like(x)
    expected[0, 0, 1:4, 1:4] = 0.3
    assert torch.allclose(change, expected)
    assert torch.allclose(total, expected)
    within, _ = patches(1.0).update(case, torch.zeros_like(x), step)
    assert torch.equal(within, step)
    with pytest.raises(UsageError, match="linf"):
        small().run(transfer_pgd(2, after=[patches()]), L2(0.5))


def test_variance_of_a_linear_model_is_nothing():
    """Where the gradient is the same everywhere, its neighbours say nothing new, but they are paid."""
    one = small()
    model, _ = linear()
    goal = Goal(one.y.clamp_max(1), (one.y.clamp_max(1) + 1) % 3)
    model, asked = asked_of(model)
    flat, ends = replace(one, model=model), []
    for then, backward in ((["momentum"], 4), ([variance(3), momentum()], 4 + 3 * 3)):
        ledger = flat.run(transfer_pgd(4, loss=difference, then=then), Linf(0.1), goal, press_on=True)
        assert (ledger.backward == backward).all()
        ends.append(asked[-1])
    assert torch.equal(*ends)


def test_variance_is_the_mean_of_the_neighbours_less_the_gradient():
    one = small()
    asked = []
    case = case_of(one.model, one.x, one.y)
    from robustly.steps.variance import situated

    def slope(z, turn):
        asked.append(z)
        return case.oracle.gradient(z, cross_entropy).grad

    change = case.oracle.gradient(one.x, cross_entropy).grad
    here = situated(case, one.x, slope, False)
    out, state = variance(4, 0.5).update(here, torch.ones_like(change), change)
    assert torch.equal(out, change + 1)
    mean = torch.stack([case.oracle.gradient(z, cross_entropy).grad for z in asked]).mean(0)
    assert torch.allclose(state, mean - change)
    away = torch.stack(asked) - one.x
    assert away.abs().max() <= 0.05 + 1e-6
    assert away.abs().max() > 0.045
    assert len({float(a.flatten()[0]) for a in asked}) == 4
    with pytest.raises(UsageError, match="transfer_pgd"):
        variance().update(case, change, change)


def test_plan_files_name_views_and_transforms():
    table = {
        "steps": 3,
        "views": ["di", {"view": "si", "times": 2}],
        "then": [{"transform": "variance", "times": 2}, "ti", "momentum"],
        "after": [{"transform": "patches", "amplification": 2.0}],
        "ahead": 1.0,
    }
    attack = build("attack", "transfer_pgd", table)
    one = small()
    ledgers = [one.run(a, Linf(0.1), press_on=True) for a in (attack, attack.spec.build())]
    assert torch.equal(ledgers[0].best_margin, ledgers[1].best_margin)
    assert (ledgers[0].backward == 2 * (3 + 2 * 2)).all()
    assert "si(times=2)" in str(attack.spec)
    assert attack.spec.build().spec == attack.spec


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": ["dii"]}, "unknown view"),
        ({"views": "di"}, "stand in a list"),
        ({"then": [si()]}, "a transform is wanted"),
        ({"views": [di]}, r"write di\(\)"),
        ({"ahead": 1.0, "then": []}, "follow a momentum"),
        ({"ahead": -1.0}, "at least 0"),
        ({"steps": 0}, "steps"),
        ({"size": 0.0}, "size"),
    ],
)
def test_what_makes_no_chain_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        transfer_pgd(**arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: di(0.0), lambda: di(0.9, 1.5), lambda: si(0), lambda: ssa(0), lambda: ssa(spread=-1.0), lambda: ti(0),
        lambda: ti(3, 0.0), lambda: variance(0), lambda: variance(3, 0.0), lambda: patches(0.0), lambda: patches(2.0, 1),
        lambda: admix(Pool(torch.zeros(2, 3), torch.tensor([0, 1])), 0), lambda: Pool(torch.zeros(0, 3), torch.zeros(0).long()),
        lambda: Pool(torch.zeros(2, 3), torch.tensor([0.0, 1.0])),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(make):
    with pytest.raises(UsageError):
        make()


def test_a_pool_is_recorded_by_its_content():
    g = torch.Generator().manual_seed(1)
    pool = Pool(torch.rand(4, 3, generator=g), torch.arange(4), "others")
    spec = admix(pool).spec
    assert f"others#{pool.digest[:12]}" in str(spec)
    assert Pool(pool.x + 1, pool.y).digest != pool.digest


def test_asking_outside_the_range_does_not_happen():
    one = small(low=-1.0, high=1.0)
    pool = Pool(torch.ones(4, 1, 6, 6), torch.arange(4))
    one.run(transfer_pgd(3, views=[admix(pool, 2), ssa(2)], then=[variance(2), momentum()]), Linf(0.4), press_on=True)
    assert all((z.abs() <= 1).all() for z in one.asked)
    assert any((z.abs() == 1).any() for z in one.asked)
