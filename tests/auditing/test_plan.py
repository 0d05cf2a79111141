"""What a plan says of its stages, and whether the run does it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robustly import apgd, audit, interval, noise
from robustly.attacks.transferred import transferred
from robustly.auditing.plan import NAMES, Plan, fitting, load_plan, norm_of, read_plan
from robustly.core.errors import UsageError
from robustly.losses import dlr
from robustly.oracle import Access, Model
from robustly.threats import L1, L2, Both, Colour, Domain, Edits, Flow, Grid, Linf
from robustly.zoo.load import images, network

UNIT = Domain(0.0, 1.0)
FIRST = '[[stage]]\nattack = "apgd"\nsteps = 5\nloss = "margin"\n'


def zoo(count: int):
    x, y, _ = images("fashion")
    return network("fashion_adversarial"), (x[:count], y[:count])


def asked(record, name: str) -> list[int]:
    return [stage.asked for stage in record.stages if stage.name == name]


@pytest.mark.parametrize("name", NAMES)
def test_every_named_plan_loads_and_says_what_it_is(name):
    plan = load_plan(name)
    assert plan.description
    assert plan.stages


def test_nearest_asks_those_of_lowest_margin():
    net, data = zoo(60)
    plan = read_plan(FIRST + '[[stage]]\nattack = "square"\nqueries = 20\nnearest = 0.25\n', "own")
    record = audit(net, data, "linf:0.1", plan)
    (first,), (second,) = asked(record, "apgd"), asked(record, "square")
    left = first - next(s.decided for s in record.stages if s.name == "apgd")
    assert second == round(0.25 * left)
    open_rows = [r for r in record.rows if r.verdict in ("unknown", "broken") and r.by != "clean"]
    plain = audit(net, data, "linf:0.1", read_plan(FIRST, "own"))
    margins = {r.index: r.best_margin for r in plain.rows if r.verdict == "unknown"}
    near = sorted(margins, key=lambda i: margins[i])[:second]
    spent = {r.index: r.forward for r in open_rows}
    before = {r.index: r.forward for r in plain.rows}
    assert {i for i in margins if spent[i] > before[i]} == set(near)


def test_nearest_takes_a_number_too():
    net, data = zoo(40)
    plan = read_plan(FIRST + '[[stage]]\nattack = "noise"\ntries = 2\nnearest = 7\n', "own")
    assert asked(audit(net, data, "linf:0.1", plan), "noise") == [7]


def test_a_stage_after_a_hit_waits_for_one():
    net, data = zoo(40)
    follow = '[[stage]]\nattack = "noise"\ntries = 1\n[[stage]]\nattack = "square"\nqueries = 5\nafter_hit = true\n'
    assert asked(audit(net, data, "linf:0.001", read_plan(follow, "own")), "square") == []
    strong = FIRST + '[[stage]]\nattack = "square"\nqueries = 5\nafter_hit = true\n'
    assert asked(audit(net, data, "linf:0.2", read_plan(strong, "own")), "square") != []


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_blackbox_asks_scores_or_labels_as_the_model_tells_them(norm):
    net, (x, _) = zoo(2)
    model = Model(net, UNIT, classes=10, module=net)
    around = {"linf": Linf(0.1), "l2": L2(1.0)}[norm].at(x, UNIT)
    plan = load_plan("blackbox")
    for access, leading in ((Access.SCORES, {"square"}), (Access.LABELS, {"rays", "circling", "hopskipjump"})):
        stages, left_out = fitting(plan, model.granting(access), around, random=False)
        names = {stage.spec.name for stage in stages}
        assert not left_out
        assert names & {"square", "rays", "circling", "hopskipjump"} <= leading
        assert names & leading


def test_without_gradients_the_plan_is_blackbox_unless_another_is_named():
    net, data = zoo(3)
    assert audit(net, data, "linf:0.3", access="labels").plan == "blackbox"
    assert audit(net, data, "linf:0.3").plan == "fast"


def test_only_keeps_a_stage_for_its_norms():
    net, (x, _) = zoo(2)
    model = Model(net, UNIT, classes=10, module=net)
    plan = read_plan(FIRST + 'only = ["l2"]\n[[stage]]\nattack = "noise"\nonly = ["linf", "l1"]\n', "own")
    for threat, name in (
        (Linf(0.1), "noise"),
        (L1(3.0), "noise"),
        (L2(1.0), "apgd"),
        (Both(L2(1.0), Linf(0.1)), "apgd"),
    ):
        stages, left_out = fitting(plan, model, threat.at(x, UNIT), random=False)
        assert [s.spec.name for s in stages] == [name]
        assert not left_out


@pytest.mark.parametrize(
    ("threat", "norm"), [(Linf(0.1), "linf"), (L1(1.0), "l1"), (Grid(L2(1.0)), "l2"), (Both(L1(1.0), Linf(0.1)), "l1")]
)
def test_the_norm_of_a_set(threat, norm):
    assert norm_of(threat.at(torch.zeros(1, 1, 4, 4), UNIT)) == norm


def test_a_text_has_no_norm():
    assert norm_of(Edits(1).at(("ab",))) == ""


def test_random_stages_are_for_random_models():
    net, (x, _) = zoo(2)
    model = Model(net, UNIT, classes=10, module=net)
    names = {
        r: [s.spec.name for s in fitting(load_plan("fast"), model, Linf(0.1).at(x, UNIT), r)[0]] for r in (True, False)
    }
    assert "expected" in names[True]
    assert "expected" not in names[False]
    assert "fgsm" not in names[True]


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_take_the_margin_and_say_so(classes):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, classes)).eval()
    x = torch.rand(20, 1, 4, 4)
    y = net(x).argmax(1)
    record = audit(net, (x, y), "linf:0.2", "standard", range=(0, 1))
    assert not any("dlr" in stage for stage in record.plan_stages)
    assert any(f"{classes} classes" in line and "margin" in line for line in record.not_tested)
    assert record.summary.broken > 0


def test_few_classes_and_a_function_of_the_users_own():
    """A spec has its name alone, so that the attack can't be made again with another loss."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    x = torch.rand(6, 1, 4, 4)
    here = apgd(steps=5, loss=dlr, start=lambda case: case.around.x)
    other = transferred(Model(net, UNIT, classes=3, name="other", digest="o"), apgd(steps=5, loss=dlr))
    record = audit(net, (x, net(x).argmax(1)), "linf:0.5", [here, other], range=(0, 1))
    assert record.summary.broken > 0


@pytest.mark.parametrize("threat", [Flow(1.0), Colour(5.0)], ids=str)
def test_a_plan_without_an_attack_for_the_set_is_refused(threat):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
    model, around = Model(net, UNIT, classes=4, module=net), threat.at(torch.rand(2, 1, 4, 4), UNIT)
    with pytest.raises(UsageError, match="no attack that can run"):
        fitting(
            read_plan('[[stage]]\ncertifier = "interval"\n' + FIRST + 'only = ["l2"]\n', "own"), model, around, False
        )
    for name in ("fast", "standard", "deep"):
        assert any(s.kind == "attack" for s in fitting(load_plan(name), model, around, False)[0])


def test_standard_walks_in_an_l1_ball_on_a_grid():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
    x = (255 * torch.rand(8, 1, 4, 4)).round() / 255
    stages = [s for s in load_plan("standard").stages if s.only == ("l1",) or s.kind == "certify"]
    record = audit(net, (x, net(x).argmax(1)), "l1:0.5@8bit", Plan("own", tuple(stages)), range=(0, 1))
    assert not any("left out" in line for line in record.not_tested)
    assert any(r.by and "wider=3" in r.by for r in record.rows if r.verdict == "broken")


def test_the_cross_check_passes_over_an_attack_that_was_left_out():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
    x = torch.rand(8, 1, 4, 4)
    plan = [interval(), apgd(5, wider=3), noise(2)]
    record = audit(net, (x, net(x).argmax(1)), "linf:0.001", plan, range=(0, 1))
    assert record.summary.certified > 0


def test_four_classes_keep_the_ratio():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
    x = torch.rand(4, 1, 4, 4)
    stages, left_out = fitting(
        load_plan("standard"), Model(net, UNIT, classes=4, module=net), Linf(0.1).at(x, UNIT), False
    )
    assert any("dlr" in str(s.spec) for s in stages)
    assert not left_out


def test_surrogates_are_tried_at_the_end():
    net, data = zoo(60)
    sure = audit(net, data, "linf:0.3", read_plan(FIRST, "own")).summary.broken
    blind = Model(network("fashion_plain"), UNIT, Access.SCORES, classes=10, name="target", digest="t")
    plan = read_plan('[[stage]]\nattack = "noise"\ntries = 1\n', "own")
    without = audit(blind, data, "linf:0.3", plan)
    with_it = audit(blind, data, "linf:0.3", plan, surrogates=[net])
    assert sure
    assert with_it.summary.broken > without.summary.broken
    assert any(r.by and r.by.startswith("transferred") for r in with_it.rows)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("nearest = 0", "nearest"),
        ("nearest = 1.5", "nearest"),
        ("nearest = true", "nearest"),
        ('only = "l2"', "only"),
        ('only = ["l3"]', "only"),
        ("random = 1", "random"),
        ('after_hit = "yes"', "after_hit"),
        ("near = 3", "near"),
    ],
)
def test_a_wrong_key_is_named(line, word):
    with pytest.raises(UsageError, match=word):
        read_plan(FIRST + line + "\n", "own")


def test_an_unknown_twin_is_refused():
    with pytest.raises(UsageError, match="bf16"):
        read_plan('twin = "bf61"\n' + FIRST, "own")


def test_fast_walks_in_wider_balls_under_l1_alone_and_along_the_border_under_l1_and_l2():
    """In the ball itself a short APGD breaks half as many under l1, and margins say little where gradients are masked."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
    model, x = Model(net, UNIT, classes=4, module=net), torch.rand(2, 1, 4, 4)
    under = {
        t: [str(s) for s in fitting(load_plan("fast"), model, t.at(x, UNIT), False)[0]] for t in (L1(1.0), L2(1.0))
    }
    apgd = {t: [s for s in stages if "apgd(" in s] for t, stages in under.items()}
    assert len(apgd[L1(1.0)]) >= 3
    assert all("wider=3" in s for s in apgd[L1(1.0)])
    assert all("wider=1" in s for s in apgd[L2(1.0)])
    borders = [{s.split("(")[0] for s in stages} & {"brendel_bethge", "pdpgd"} for stages in under.values()]
    assert borders == [{"brendel_bethge", "pdpgd"}, {"brendel_bethge"}]


def test_deep_finds_at_least_what_standard_finds():
    """Its stages are among deep's, word for word, and a stage's draws depend on its words alone."""
    assert {str(s) for s in load_plan("standard").stages} <= {str(s) for s in load_plan("deep").stages}


class Shaken(nn.Module):
    """A linear network that adds noise to its input in every call."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(16, 4)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Scores (B, 4)."""
        return self.inner(z.flatten(1) + 0.1 * torch.randn_like(z.flatten(1)))


def test_rand_breaks_a_random_model_and_others_say_that_they_follow_single_draws():
    net = Shaken().eval()
    x = torch.rand(40, 1, 4, 4)
    y = net.inner(x.flatten(1)).argmax(1)
    pooled = audit(net, (x, y), "linf:0.2", "rand", range=(0, 1))
    single = audit(net, (x, y), "linf:0.2", "quick", range=(0, 1))
    assert pooled.summary.broken > 20
    assert not any("single draws" in line for line in pooled.not_tested)
    assert any("single draws" in line for line in single.not_tested)
    assert any(row.by and row.by.startswith("expected") for row in pooled.rows)
