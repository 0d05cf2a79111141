"""Audits of smoothed models: verdicts about the smoothed classifier alone, and the same however they are batched."""

import pytest
import torch

from robustly import L2, audit, predict, smooth, smoothing
from robustly.attacks.pgd import pgd
from robustly.auditing.judge import judge
from robustly.auditing.replay import audited_model, replay
from robustly.auditing.votes import poll
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import smoothing_of
from robustly.threats import Domain


def plane(n=4):
    """A linear classifier; its smoothed one is the same, so that the truth is known."""
    net = torch.nn.Linear(n, 2)
    with torch.no_grad():
        normal = torch.randn(n, generator=torch.Generator().manual_seed(0))
        net.weight.copy_(torch.stack((normal, -normal)) / normal.norm())
        net.bias.copy_(torch.stack((-normal.sum(), normal.sum())) / normal.norm() / 2)
    return net.eval()


def problem(count=16):
    x = torch.rand(count, 4, generator=torch.Generator().manual_seed(1))
    net = plane()
    with torch.no_grad():
        scores = net(x)
    return net, x, scores.argmax(1), scores.max(1).values.double()


def verdicts(record):
    return [(r.verdict, r.bound, r.adversarial_margin, r.forward) for r in record.rows]


def test_the_bracket_encloses_the_truth():
    net, x, y, true = problem(10)
    record = audit(smooth(net, 0.25, votes=40, range=(0, 1)), (x, y), L2(0.15), range=(0, 1))
    assert record.plan == "smoothed"
    assert record.model.smoothed == "gaussian:0.25"
    seen = {r.verdict for r in record.rows}
    assert {"certified", "broken"} <= seen
    for row in record.rows:
        if row.verdict == "certified":
            assert true[row.index] > 0.15
        if row.verdict == "broken":
            assert true[row.index] < 0.15
        if row.verdict == "misclassified":
            assert "abstained" in row.flags
            assert true[row.index] < 0.05
    assert record.summary.clean_asked == len(x)
    assert any("smoothed classifier" in note for note in record.notes)
    assert any("hold at once" in note for note in record.notes)
    assert "examples=10" in next(r.by for r in record.rows if r.verdict == "certified")


def test_batches_and_the_ways_to_ask_change_nothing(tmp_path):
    net, x, y, _ = problem(8)
    plan = [smoothing(n=1000), pgd(2)]
    base = audit(smooth(net, 0.25, range=(0, 1)), (x, y), L2(0.15), plan)
    for other in (
        audit(smooth(net, 0.25, range=(0, 1)), (x, y), L2(0.15), plan, batch=3),
        audit(net, (x, y), L2(0.15), plan, smooth=0.25, range=(0, 1), out=tmp_path / "run"),
    ):
        assert verdicts(other) == verdicts(base)


def test_a_needle_in_the_base_model_is_nothing_to_the_smoothed_one():
    """The base model errs on a ball so small that no vote falls into it: found by an attack on it, and no contradiction."""
    x = torch.full((2, 4), 0.5)

    class Needle(torch.nn.Module):
        def forward(self, z):
            near = ((z - 0.51).abs().amax(1) < 0.012).float()
            return torch.stack((0.5 - near, near - 0.5), 1) + 0 * z.sum(1, keepdim=True)

    net, y = Needle().eval(), torch.zeros(2, dtype=torch.int64)
    from robustly.attacks.noise import noise

    bare = audit(net, (x, y), L2(0.1), [noise(500)], range=(0, 1))
    assert bare.summary.broken + bare.summary.misclassified == 2
    record = audit(net, (x, y), L2(0.1), [smoothing(n=1000), noise(50)], smooth=0.25, range=(0, 1))
    assert record.status == "complete"
    assert record.summary.certified_count == 2


def test_the_judge_asks_votes_that_no_search_has_seen():
    net, x, y, _ = problem(4)
    votes = smoothing_of(smooth(net, 0.25, range=(0, 1)))
    seen, fresh = votes.counts(x[0], "answer", 400), votes.counts(x[0], "judge", 400)
    assert not torch.equal(seen, fresh)
    level = torch.full((1, 4), 0.5)  # on the plane: a lucky hundred may say anything, the judge nothing
    for label in (0, 1):
        found = poll(votes, Goal(torch.tensor([label])), level)
        assert not found.against.any()
        assert not poll(votes, Goal(torch.tensor([label]), torch.tensor([1 - label])), level).against.any()
    far = x[:1] + (0.5 - x[:1]) * 2  # its reflection
    model = smooth(net, 0.05, range=(0, 1))
    around = L2(2.0).at(x[:1], Domain(0, 1))
    assert judge(model, around, Goal(y[:1]), far).holds.all()
    assert judge(model, around, Goal(1 - y[:1], y[:1]), x[:1]).holds.all()
    assert not judge(model, L2(1e-3).at(x[:1], Domain(0, 1)), Goal(y[:1]), far).holds.any()
    assert predict(model, far).tolist() == (1 - y[:1]).tolist()


def test_replay_makes_the_smoothed_model_again(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\ndef build():\n    net = torch.nn.Linear(4, 2)\n"
        "    net.load_state_dict({'weight': torch.tensor([[1., 0, 0, 0], [-1., 0, 0, 0]]), 'bias': torch.tensor([-.5, .5])})\n"
        "    return net.eval()\n"
    )
    x = torch.full((2, 4), 0.5)
    x[:, 0] = torch.tensor([0.6, 0.9])
    source = f"{path}:build"
    record = audit(source, (x, torch.tensor([0, 0])), L2(0.3), [pgd(10, 0.3)], smooth="0.25", range=(0, 1))
    assert [r.verdict for r in record.rows] == ["broken", "unknown"]
    again = replay(record, 0, audited_model(record))
    assert again.same_model
    assert again.holds


def test_certifiers_of_another_kind_are_left_out_with_a_reason():
    net, x, y, _ = problem(2)
    with pytest.raises(UsageError, match="votes, which this one has not"):
        audit(net, (x, y), L2(0.1), [smoothing()], range=(0, 1))
    with pytest.raises(UsageError, match=r"\[0, 255\]"):
        audit(net, (255 * x, y), L2(0.1), smooth=0.25, range=(0, 255))
    from robustly import interval

    with pytest.raises(UsageError, match="no network to bound"):
        audit(smooth(net, 0.25), (x, y), L2(0.1), [interval()], range=(0, 1))
