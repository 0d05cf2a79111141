"""The main job, from a model and data to a verdict for every example, on models whose truth is known."""

import json

import pytest
import torch
from torch import nn

from robustly import L2, Linf, Model, apgd, audit, interval, pgd, read_record, square
from robustly.core.errors import UsageError
from robustly.threats import Domain


def linear(n=20, classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    net = nn.Linear(n, classes)
    with torch.no_grad():
        net.weight.copy_(torch.randn(classes, n, generator=g))
        net.bias.copy_(torch.randn(classes, generator=g))
    return net.eval()


def examples(net, count=60, n=20, seed=1):
    """Inputs well inside [0, 1], with the model's own labels but for the last five."""
    g = torch.Generator().manual_seed(seed)
    x = 0.4 + 0.2 * torch.rand(count, n, generator=g)
    with torch.no_grad():
        y = net(x).argmax(1)
    y[-5:] = (y[-5:] + 1) % 3
    return x, y


def distances(net, x, y):
    """The exact linf distance of each example to the nearest other class, by the dual norm."""
    w, b = net.weight.detach().double(), net.bias.detach().double()
    scores = x.double() @ w.T + b
    out = []
    for i in range(len(x)):
        gaps = [(scores[i, y[i]] - scores[i, k]) / (w[y[i]] - w[k]).abs().sum() for k in range(3) if k != y[i]]
        out.append(float(min(gaps)))
    return out


def test_verdicts_are_the_truth_where_it_is_known():
    net = linear()
    x, y = examples(net)
    exact = distances(net, x, y)
    eps = sorted(exact)[35]
    record = audit(net, (x, y), Linf(eps), plan="fast", seed=0)
    assert record.summary.misclassified == 5
    for row, distance in zip(record.rows[:-5], exact[:-5], strict=True):
        if distance < eps * 0.999:
            assert row.verdict == "broken", row
            assert row.distance <= eps * (1 + 1e-6)
        elif distance > eps * 1.001:
            assert row.verdict == "certified", row
    s = record.summary
    assert s.clean == pytest.approx(55 / 60)
    assert s.certified == s.certified_count / 60
    assert s.attacked == (s.certified_count + s.unknown) / 60
    assert s.population.low < s.certified <= s.attacked < s.population.high


def test_counterexamples_are_what_the_record_says():
    net = linear()
    x, y = examples(net)
    record = audit(net, (x, y), Linf(0.05))
    broken = [row for row in record.rows if row.verdict == "broken"]
    assert broken
    for row in broken:
        z = record.counterexample(row.index)
        assert z.shape == x[0].shape
        assert z.dtype == torch.float32
        assert int(net(z[None]).argmax()) == row.adversarial_label != row.label
        assert float((z - x[row.index]).abs().max()) == pytest.approx(row.distance, abs=1e-6)
        assert row.by.startswith(("fgsm", "apgd"))
    robust = next(row for row in record.rows if row.verdict != "broken")
    with pytest.raises(UsageError, match="no counterexample"):
        record.counterexample(robust.index)


def test_passes_are_those_the_model_saw():
    net = linear()
    x, y = examples(net)
    seen = [0]

    def call(z):
        seen[0] += len(z)
        return net(z)

    for twice in (False, True):
        seen[0] = 0
        record = audit(call, (x, y), Linf(0.05), plan=[pgd(7), square(30)], eps=[0.01, 0.1] if twice else [])
        assert record.summary.forward == seen[0]
        assert record.summary.forward == sum(stage.forward for stage in record.stages)
        assert sum(row.forward for row in record.rows) == seen[0] - record.stages[0].forward


def test_same_seed_same_record_and_order_or_company_do_not_matter():
    net = linear()
    x, y = examples(net)
    plan = [apgd(steps=8), square(40)]

    def rows(xs, ys, **more):
        keep = ("verdict", "by", "distance", "forward", "backward", "counterexample", "best_margin")
        record = audit(call, (xs, ys), Linf(0.04), plan=plan, seed=3, **more)
        return {row.id: tuple(getattr(row, k) for k in keep) for row in record.rows}

    def call(z):  # a row's bits do not depend on its batch
        return (z[:, None, :] * net.weight).sum(2) + net.bias

    whole = rows(x, y)
    assert rows(x, y) == whole
    assert rows(x.flip(0), y.flip(0)) == whole
    assert rows(x, y, batch=7) == whole
    some = rows(x[10:13], y[10:13])
    assert some == {k: whole[k] for k in some}


def test_other_seeds_draw_other_points():
    net = linear()
    x, y = examples(net)
    a, b = (audit(net, (x, y), Linf(0.05), plan=[pgd(3)], seed=s) for s in (0, 1))
    assert {r.counterexample for r in a.rows} != {r.counterexample for r in b.rows}


def test_a_sweep_reuses_what_is_known_and_is_monotone():
    net = linear()
    x, y = examples(net)
    sizes = [0.0, 0.02, 0.05, 0.1, 0.3]
    record = audit(net, (x, y), Linf(0.05), eps=sizes)
    assert [p.eps for p in record.sweep] == sizes
    attacked, certified = [p.attacked for p in record.sweep], [p.certified for p in record.sweep]
    assert attacked == sorted(attacked, reverse=True)
    assert certified == sorted(certified, reverse=True)
    assert attacked[0] == record.summary.clean
    assert attacked[-1] == 0
    for size, point in zip(sizes, record.sweep, strict=True):
        alone = audit(net, (x, y), Linf(size))
        assert (point.certified, point.attacked) == (alone.summary.certified, alone.summary.attacked)
    separately = sum(audit(net, (x, y), Linf(size)).summary.forward for size in sizes)
    assert record.summary.forward < 0.7 * separately
    for row in record.rows:
        if row.broken_at is not None and row.certified_at is not None:
            assert row.certified_at < row.broken_at


def test_nan_is_never_robust():
    net = linear()
    x, y = examples(net)
    always = audit(lambda z: net(z) * float("nan"), (x, torch.zeros_like(y)), Linf(0.05))
    assert always.summary.invalid == 60
    assert always.summary.clean == always.summary.attacked == 0
    assert any("non-finite" in w for w in always.warnings)

    def perturbed(z):  # answers NaN at every input but the clean ones
        known = (z[:, None, :] == x).all(2).any(1, keepdim=True)
        return torch.where(known, net(z), float("nan"))

    record = audit(perturbed, (x, y), Linf(0.0001), plan=[pgd(2)])
    assert record.summary.attacked == 0
    assert record.summary.broken == 55
    assert all("non-finite" in row.flags for row in record.rows if row.verdict == "broken")
    json.loads(record.to_json(), parse_constant=pytest.fail)


def test_ties_count_against_the_model():
    x, y = torch.rand(8, 3), torch.zeros(8, dtype=torch.long)
    record = audit(lambda z: torch.zeros(len(z), 4), (x, y), Linf(0.1), plan="quick")
    assert record.summary.misclassified == 8
    assert any("tie" in w for w in record.warnings)


def test_a_model_that_raises_costs_only_those_examples():
    net = linear()
    x, y = examples(net)
    x[3, 0] = 0.0

    def picky(z):
        if (z[:, 0] == 0).any():
            raise ValueError("first feature is missing")
        return net(z)

    record = audit(picky, (x, y), Linf(0.001), plan=[pgd(3)])
    assert record.rows[3].verdict == "invalid"
    assert "first feature is missing" in record.rows[3].error
    assert record.summary.invalid == 1
    assert record.summary.misclassified == 5


def test_out_of_memory_halves_the_batch_and_goes_on():
    net = linear()
    x, y = examples(net)

    def small(z):
        if len(z) > 20:
            raise torch.OutOfMemoryError("out of memory")
        return net(z)

    record = audit(small, (x, y), Linf(0.05))
    plain = audit(net, (x, y), Linf(0.05), plan="fast")
    assert [r.verdict == "broken" for r in record.rows] == [r.verdict == "broken" for r in plain.rows]


def test_masked_gradients_are_flagged_and_query_attacks_still_work():
    net = linear()
    x, y = examples(net)
    record = audit(lambda z: net((z * 16).round() / 16), (x, y), Linf(0.08))
    assert any("masked gradients" in w for w in record.warnings)
    assert any(row.by and row.by.startswith(("square", "noise")) for row in record.rows if row.verdict == "broken")
    cut = audit(lambda z: net(z).detach(), (x, y), Linf(0.08))
    assert any("no gradient flows" in w for w in cut.warnings)
    assert any("apgd" in line and "left out" in line for line in cut.not_tested)
    assert cut.model.access == "scores"
    assert cut.summary.broken > 0


def test_a_random_model_is_voted_on():
    net = linear()
    x, y = examples(net)
    lucky = torch.Generator().manual_seed(5)

    def noisy(z):  # one answer in ten is nonsense: search finds it, the vote must not count it
        nonsense = torch.rand(len(z), 1, generator=lucky) < 0.1
        return torch.where(nonsense, net(z).flip(1), net(z))

    record = audit(noisy, (x[:-5], y[:-5]), Linf(1e-6), plan=[pgd(5)])
    assert any("random" in w for w in record.warnings)
    assert record.summary.broken <= 2
    assert record.summary.judged_misses > 0


def test_a_model_that_mixes_its_batch_is_asked_row_by_row():
    net = linear()
    x, y = examples(net)

    def mixing(z):
        return net(z - z.mean(0, keepdim=True) + 0.5)

    record = audit(mixing, (x, y), Linf(0.01), plan=[pgd(2)])
    assert any("one example at a time" in w for w in record.warnings)


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(nn.Linear(20, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).eval()
    x, y = examples(linear())
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.random.get_rng_state()
    record = audit(net, (x, y), Linf(0.05), plan=[pgd(3), square(20)])
    assert record.summary.backward > 0
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not net.training


def test_a_module_in_training_mode_is_refused():
    with pytest.raises(UsageError, match=r"model\.eval\(\)"):
        audit(nn.Linear(4, 2).train(), (torch.rand(3, 4), torch.zeros(3, dtype=torch.long)), Linf(0.1))


def test_eps_zero_is_clean_accuracy():
    net = linear()
    x, y = examples(net)
    record = audit(net, (x, y), Linf(0.0))
    assert record.summary.attacked == record.summary.clean


def test_limits_end_a_run_early_and_say_so():
    net = linear()
    x, y = examples(net)
    record = audit(net, (x, y), Linf(0.05), time=1e-9)
    assert record.status == "partial"
    assert "time limit" in record.why_partial
    assert "time limit" in record.not_tested[0]
    wide = audit(net, (x, y), Linf(0.03), plan=[pgd(2), interval(), square(500)], until=0.9, batch=60)
    assert wide.status == "partial"
    assert "bracket" in wide.why_partial
    with pytest.raises(UsageError, match="between 0 and 1"):
        audit(net, (x, y), Linf(0.05), until=7)
    with pytest.raises(UsageError, match="above 0"):
        audit(net, (x, y), Linf(0.05), time=-1)


def test_l2_and_ranges_other_than_unit():
    net = linear()
    x, y = examples(net)
    wide = Model(lambda z: net(z / 255), Domain(0.0, 255.0), classes=3)
    a = audit(net, (x, y), L2(0.1), plan=[apgd(20)])
    b = audit(wide, (x * 255, y), L2(25.5), plan=[apgd(20)], range=(0, 255))
    assert [r.verdict for r in a.rows] == [r.verdict for r in b.rows]
    assert a.summary.broken > 0


def test_limit_takes_the_first():
    net = linear()
    x, y = examples(net)
    record = audit(net, (x, y), Linf(0.05), limit=7)
    assert record.summary.examples == 7
    assert [row.index for row in record.rows] == list(range(7))


def test_the_folder_holds_the_record_and_the_counterexamples(tmp_path):
    net = linear()
    x, y = examples(net)
    record = audit(net, (x, y), Linf(0.05), out=tmp_path / "run")
    again = read_record(tmp_path / "run")
    assert again == record
    index = next(row.index for row in again.rows if row.verdict == "broken")
    assert torch.equal(again.counterexample(index), record.counterexample(index))
    assert torch.equal(torch.from_numpy(again.pair(index).clean), x[index])


def test_what_was_not_tested_is_said():
    net = linear()
    x, y = examples(net)
    record = audit(net, (x, y), Linf(0.05), plan="standard")
    assert any("more than AutoAttack does" in line for line in record.not_tested)
    assert any("linf:0.05" in line for line in record.not_tested)
