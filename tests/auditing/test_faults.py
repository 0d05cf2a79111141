"""Ways in which an audit once could have gone wrong: each stays caught."""

import pytest
import torch
from torch import nn

from robustly import (
    L0,
    L1,
    L2,
    Both,
    Edits,
    Grid,
    Linf,
    Model,
    apgd,
    attack,
    audit,
    bim,
    fgsm,
    interval,
    pgd,
    read_record,
    square,
)
from robustly.auditing.findings import Finding, verdict
from robustly.auditing.store import Store
from robustly.certify.types import Bound
from robustly.core.errors import Contradiction, RunError, UsageError
from robustly.core.specs import spec
from robustly.losses import cross_entropy
from robustly.steps import clean
from robustly.threats import Domain, parse_threat


def net_of(n=6, seed=0):
    net = nn.Linear(n, 3).eval()
    with torch.no_grad():
        net.weight.copy_(torch.randn(3, n, generator=torch.Generator().manual_seed(seed)))
        net.bias.zero_()
    return net


@pytest.fixture
def case():
    net = net_of()
    x = torch.rand(30, 6, generator=torch.Generator().manual_seed(1))
    return net, x, net(x).argmax(1)


def test_sizes_and_masks_by_example_are_refused(case):
    net, x, y = case
    with pytest.raises(UsageError, match="one eps for all"):
        audit(net, (x, y), Linf(torch.full((30,), 0.1)))
    with pytest.raises(UsageError, match="one mask for all"):
        audit(net, (x, y), Linf(0.1, torch.ones(30, 6, dtype=torch.bool)))


def test_another_mask_is_another_run(case, tmp_path):
    net, x, y = case
    first, second = torch.zeros(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)
    first[0], second[1] = True, True
    record = audit(net, (x, y), Linf(0.3, first), out=tmp_path)
    for row in record.rows:
        if row.verdict == "broken":
            assert torch.equal(record.counterexample(row.index)[1:], x[row.index, 1:])
    with pytest.raises(UsageError, match="threat: "):
        audit(net, (x, y), Linf(0.3, second), out=tmp_path)


def test_a_declared_range_is_kept(case):
    net, x, y = case
    model = Model(net, Domain(-1.0, 1.0), classes=3)
    x = 0.5 + x / 4
    record = audit(model, (x, net(x).argmax(1)), Linf(1.5), plan=[pgd(20)])
    assert record.model.domain == (-1.0, 1.0)
    lowest = min(float(record.counterexample(r.index).min()) for r in record.rows if r.verdict == "broken")
    assert lowest < -0.5
    with pytest.raises(UsageError, match=r"outside the .*range \[-1, 1\]"):
        audit(model, (x + 1, y), Linf(0.1))


def test_a_model_that_mixes_its_batch_is_asked_row_by_row_from_the_first_pass(case):
    net, x, _ = case

    def mixing(z):
        return net(z - z.mean(0, keepdim=True) + 0.1)

    alone = torch.cat([mixing(row[None]) for row in x]).argmax(1)
    assert (mixing(x).argmax(1) != alone).any()
    record = audit(mixing, (x, alone), Linf(0.0), plan=[pgd(1)])
    assert record.summary.clean == 1.0


def test_small_steps_move_on_a_grid():
    net = net_of(200)
    x = torch.randint(0, 256, (60, 200), generator=torch.Generator().manual_seed(2)).float() / 255
    y = net(x).argmax(1)
    for family, eps in ((Linf, 6 / 255), (L2, 0.4)):  # a tenth of either is less than half a level a number
        plain = attack(bim(20), net, x, y, family(eps)).success.sum()
        grid = attack(bim(20), net, x, y, Grid(family(eps)))
        assert 10 < plain < 60
        assert grid.success.sum() >= 0.8 * plain
        assert torch.equal((grid.x * 255).round() / 255, grid.x)


def test_l0_steps_do_not_depend_on_the_range(case):
    net, x, y = case
    scaled = Model(lambda z: net(z / 255), Domain(0.0, 255.0), classes=3)
    a = attack(pgd(20, start=clean), net, x, y, L0(2)).success
    b = attack(pgd(20, start=clean), scaled, x * 255, y, L0(2)).success
    assert a.sum() > 5
    assert (a == b).float().mean() > 0.9


def test_a_count_cannot_come_first():
    x = torch.rand(2, 6)
    with pytest.raises(UsageError, match="put l0 second"):
        Both(L0(2), L2(0.5)).at(x)
    around = Both(L2(0.5), L0(2)).at(x)
    assert around.contains(around.project(x + torch.randn(2, 6))).all()


def test_distance_of_a_text_counts_only_allowed_edits():
    around = Edits(3, alphabet="xy").at(("xyA",))
    assert not Edits(2, alphabet="xy").at(("xyA",)).contains(("Axy",)).any()
    assert around.distance(("Axy",)).item() > 2


def test_clean_accuracy_does_not_depend_on_the_attack(case):
    net, x, y = case

    def picky(z):
        if not (z[:, None, :] == x).all(2).any(1).all():
            raise ValueError("never seen")
        return net(z)

    record = audit(picky, (x, y), Linf(0.1), plan=[fgsm()])
    assert record.summary.clean == 1.0
    assert record.summary.attacked < 1.0
    assert any("raised" in w for w in record.warnings)


@pytest.mark.parametrize("queries", [2, 3, 9])
def test_a_budget_holds_with_the_judge(case, queries):
    net, x, y = case
    seen = torch.zeros(30, dtype=torch.long)

    def call(z):
        return net(z)

    result = attack(square(50), call, x, y, Linf(0.3), queries=queries)
    assert result.forward.max() <= queries
    assert result.success.any() or queries < 9
    with pytest.raises(UsageError, match="at least 2"):
        attack(square(50), net, x, y, Linf(0.3), queries=1)
    assert not seen.any()


def test_labels_beyond_the_classes_are_named(case):
    net, x, y = case
    with pytest.raises(UsageError, match="7, but the model has 3 classes"):
        attack(pgd(2), net, x, torch.full_like(y, 7), Linf(0.1))


def test_a_stage_that_cannot_walk_is_left_out_and_said():
    net = net_of()
    x = torch.randint(0, 256, (10, 6), generator=torch.Generator().manual_seed(2)).float() / 255
    record = audit(net, (x, net(x).argmax(1)), parse_threat("l0:1@8bit"))
    assert record.status == "complete"
    assert any(line.startswith("square") and "left out" in line for line in record.not_tested)


def test_a_graph_that_leads_nowhere_is_met_with_query_attacks(case):
    net, x, y = case
    record = audit(lambda z: net(z.detach()), (x, y), Linf(0.3))
    assert record.model.access == "scores"
    assert record.summary.broken > 0


def lying():
    """A certifier that proves anything."""

    def certify(model, around, goal):
        return Bound(torch.ones(len(goal), dtype=torch.float64), (None,) * len(goal), 0)

    return certify


def test_a_contradiction_stops_the_run_and_is_recorded(case, tmp_path):
    from robustly.core import specs

    net, x, y = case
    try:
        certifier = spec("certifier")(lying)()
        with pytest.raises(Contradiction, match="is broken by apgd"):
            audit(net, (x, y), Linf(0.5), plan=[certifier, apgd(20)], out=tmp_path)
    finally:
        specs._registry.pop(("certifier", "lying"))
    record = read_record(tmp_path)
    assert record.status == "contradiction"
    both = [r for r in record.rows if r.verdict == "broken" and r.bound == 1.0]
    assert both
    assert net(record.counterexample(both[0].index)[None]).argmax() != both[0].label


def test_a_bad_sweep_is_refused_before_any_pass(case):
    _, x, y = case
    asked = []
    with pytest.raises(UsageError, match="finite and >= 0"):
        audit(lambda z: asked.append(1), (x, y), Linf(0.1), eps=[0.05, float("nan")])
    with pytest.raises(UsageError, match="whole"):
        audit(lambda z: asked.append(1), (("ab", "cd"), [0, 1]), Edits(1), eps=[1.5])
    assert not asked


def test_a_time_limit_holds_within_a_batch(case):
    import time

    net, x, y = case

    def slow(z):
        time.sleep(0.02)
        return net(z)

    begun = time.monotonic()
    record = audit(slow, (x, y), Linf(1e-6), plan=[pgd(500)], time=1.0)
    assert time.monotonic() - begun < 6
    assert record.status == "partial"
    assert record.summary.unknown == 30


def test_memory_that_fits_is_remembered_and_nobody_pays_for_the_failure(case):
    net, x, y = case
    sizes = []

    def small(z):
        sizes.append(len(z))
        if len(z) > 8:
            raise torch.OutOfMemoryError("out of memory")
        return net(z)

    record = audit(small, (x, y), Linf(1e-6), plan=[pgd(3)], batch=15)
    assert record.summary.forward == sum(s for s in sizes if s <= 8)
    assert sum(s > 8 for s in sizes) <= 2


def test_one_example_that_does_not_fit_is_an_error(case):
    _, x, y = case
    calls = [0]

    def full(z):
        calls[0] += 1
        if calls[0] > 6:
            raise torch.OutOfMemoryError("out of memory")
        return z[:, :3]

    with pytest.raises(RunError, match="alone does not fit"):
        audit(full, (x[:2], y[:2]), Linf(0.1), plan=[pgd(3)])


def test_own_functions_have_the_same_name_in_every_process():
    def own_loss(scores, goal):
        return cross_entropy(scores, goal)

    text = str(pgd(3, loss=own_loss).spec)
    assert " at 0x" not in text
    assert "own_loss#" in text


def test_equal_stages_draw_other_points(case):
    net, x, y = case
    once = audit(net, (x, y), Linf(0.08), plan=[pgd(2)]).summary.broken
    thrice = audit(net, (x, y), Linf(0.08), plan=[pgd(2), pgd(2), pgd(2)])
    margins = {stage.decided for stage in thrice.stages if stage.name == "pgd"}
    assert thrice.summary.broken >= once
    assert len([s for s in thrice.stages if s.name == "pgd"]) == 3
    assert margins


def test_a_twin_that_errs_sends_its_misses_to_the_original(case, monkeypatch):
    from dataclasses import replace

    import robustly.auditing.audit as room

    net, x, y = case

    def wrong_twin(model, kind):  # finds everything at once, by being wrong about everything
        return replace(model, call=lambda z: -net(z) + 0 * z.sum(), module=None)

    monkeypatch.setattr(room, "fast_twin", wrong_twin)
    plain = audit(net, (x, y), Linf(0.1), plan=[apgd(20)])
    twin = audit(net, (x, y), Linf(0.1), plan=[apgd(20)], twin="bf16")
    assert [r.verdict for r in twin.rows] == [r.verdict for r in plain.rows]
    assert twin.summary.judged_misses > 0


def test_a_damaged_store_frees_its_lock(tmp_path):
    (tmp_path / "run.sqlite").write_bytes(b"no database, but long enough to look like one" * 100)
    for _ in range(2):
        with pytest.raises(RunError, match="damaged"):
            Store(tmp_path)


def test_verdicts_carry_between_sizes():
    broken = Finding(eps=0.1, stage=0, index=0, outcome="broken", distance=0.04)
    certified = Finding(eps=0.02, stage=0, index=0, outcome="certified")
    assert verdict([broken, certified], 0.1)[0] == "broken"
    assert verdict([broken, certified], 0.05)[0] == "broken"
    assert verdict([broken, certified], 0.03)[0] == "unknown"
    assert verdict([broken, certified], 0.01)[0] == "certified"
    with pytest.raises(Contradiction):
        verdict([broken, certified.model_copy(update={"eps": 0.2})], 0.1)


def test_the_interval_holds_in_a_plan_of_its_own(case):
    net, x, y = case
    record = audit(net, (x, y), L1(0.001), plan=[interval()])
    assert record.summary.broken == 0
    assert record.summary.certified > 0.5
