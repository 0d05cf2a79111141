"""Proofs take their share of the attacks' work and no more: on the likeliest first, the same in every run, and said so."""

import dataclasses

import pytest
import torch
from tests.auditing.test_linear_stage import trained

from robustly import Linf, audit, crown, interval
from robustly.auditing import run as running
from robustly.auditing.plan import PlanStage, read_plan
from robustly.auditing.problem import Problem
from robustly.auditing.proving import EXCHANGE, allot
from robustly.certify.types import pricer
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle import Model
from robustly.threats import Domain

ATTACK = '[[stage]]\nattack = "apgd"\nsteps = 10\nloss = "margin"\n'


def plan(share, more=""):
    return read_plan(f'{ATTACK}[[stage]]\ncertifier = "crown"\nshare = {share}\n{more}', "shared")


def audited(share, out, more="", **settings):
    net, x, y = trained()
    return audit(net, (x, y), Linf(0.08), plan=plan(share, more), out=out, batch=8, **settings)


def proofs(record):
    return [stage for stage in record.stages if stage.kind == "certify"]


def price_of_one():
    net, x, _ = trained()
    return pricer(crown())(Model(call=net, module=net, domain=Domain(0, 1)), Linf(0.08).at(x, Domain(0, 1)))


def test_a_price_is_told_beforehand_and_bounds_what_is_wanted():
    found = price_of_one()
    assert found.a_pass == 4 * 24 + 24 * 24 + 24 * 2
    assert found.operations.shape == (40,)
    assert (found.operations > 0).all()
    wider = pricer(crown())(
        Model(call=trained()[0], module=trained()[0], domain=Domain(0, 1)),
        Linf(0.3).at(trained()[1], Domain(0, 1)),
    )
    assert (wider.operations >= found.operations).all()
    assert (wider.operations > found.operations).any()


def test_no_more_examples_are_tried_than_the_share_pays_for(tmp_path):
    whole = audited(1000, tmp_path / "whole")
    attacks = sum(s.forward + s.backward for s in whole.stages if s.kind == "attack" and "apgd" in s.spec)
    standing = [row for row in whole.rows if row.verdict in ("certified", "unknown")]
    price = price_of_one()
    total = sum(float(price.operations[row.index]) for row in standing)
    cross = whole.stages[-1]
    attacks -= cross.forward + cross.backward if cross.kind == "attack" else 0
    share = 0.5 * total * EXCHANGE / (attacks * price.a_pass)  # half of the proofs can be paid
    part = audited(share, tmp_path / "part")
    tried = sum(s.asked for s in proofs(part))
    assert 0 < tried < len(standing) == sum(s.asked for s in proofs(whole))
    done = [row for row in part.rows if row.verdict == "unknown" and "was not tried" in row.why]
    assert len(done) == len(standing) - tried
    assert all(f"share={share:g}" in row.why for row in done)
    assert max(row.best_margin for row in done) <= min(
        row.best_margin for row in part.rows if row.verdict == "certified"
    )
    assert 0 < part.summary.certified_count <= whole.summary.certified_count
    certified = {row.index for row in whole.rows if row.verdict == "certified"}
    assert {row.index for row in part.rows if row.verdict == "certified"} <= certified
    assert part.summary.attacked == whole.summary.attacked


def test_bounds_that_are_known_say_who_is_likeliest(tmp_path):
    """Of two with the same margin, the one whose interval bound is nearer to zero comes first."""
    net, x, y = trained()
    with_intervals = read_plan(
        f'{ATTACK}[[stage]]\ncertifier = "interval"\n[[stage]]\ncertifier = "crown"\nshare = 0.2\n', "both"
    )
    record = audit(net, (x, y), Linf(0.08), plan=with_intervals, out=tmp_path / "a", batch=8)
    bound = interval()(
        Model(call=net, module=net, domain=Domain(0, 1)), Linf(0.08).at(x, Domain(0, 1)), Goal(y)
    ).lower.tolist()
    left = [row for row in record.rows if "was not tried" in (row.why or "")]
    tried = [row for row in record.rows if row.by and row.by.startswith("crown")]
    tried += [row for row in record.rows if row.why and row.why.startswith("crown bound")]
    assert left
    assert tried

    def come(row):
        return row.best_margin / (row.best_margin - bound[row.index])

    assert min(map(come, tried)) > max(map(come, left))


def test_a_share_too_small_for_one_proof_tries_none(tmp_path):
    record = audited(1e-9, tmp_path / "none")
    assert sum(s.asked for s in proofs(record)) == 0
    assert record.summary.certified_count == 0
    assert {row.why.split(":")[0] for row in record.rows if row.verdict == "unknown"} == {"crown was not tried"}


def test_a_probe_takes_the_likeliest_and_ends_the_stage_where_it_decides_none(tmp_path):
    net, x, y = trained()
    weak = read_plan(
        '[[stage]]\nattack = "noise"\ntries = 1\n[[stage]]\ncertifier = "crown"\nshare = 1e9\nprobe = 2', "weak"
    )
    hopeless = audit(net, (x, y), Linf(0.35), plan=weak, out=tmp_path / "a", batch=8)
    standing = [row for row in hopeless.rows if row.verdict == "unknown"]
    assert len(standing) > 2
    assert hopeless.summary.certified_count == 0
    assert sum(s.asked for s in proofs(hopeless)) == 2
    said = sorted(standing, key=lambda row: -row.best_margin)
    assert all("bound" in row.why for row in said[:2])
    assert all(row.why == "crown was not tried: it decided none of the 2 likeliest" for row in said[2:])
    hopeful = audited(1000, tmp_path / "b", "probe = 2")
    assert hopeful.summary.certified_count > 2


def test_a_resumed_run_tries_the_same(tmp_path):
    whole = audited(1000, tmp_path / "whole", "probe = 2")

    seen = []

    def watch(snapshot):
        seen.append(snapshot)
        if snapshot.stage == "crown" and snapshot.done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audited(1000, tmp_path / "cut", "probe = 2", watch=watch)
    again = audited(1000, tmp_path / "cut", "probe = 2")
    keep = ("index", "verdict", "by", "bound", "why", "forward", "backward", "best_margin")
    assert [{k: getattr(row, k) for k in keep} for row in again.rows] == [
        {k: getattr(row, k) for k in keep} for row in whole.rows
    ]


def test_proofs_are_committed_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "PROOFS", 3)
    seen = []
    audited(1000, tmp_path / "a", watch=lambda s: seen.append((s.stage, s.certified)))
    assert len({certified for stage, certified in seen if stage == "crown"}) > 2  # the bracket tightens on the way


def test_the_first_that_fits_is_taken_even_behind_one_that_does_not():
    net, x, y = trained()
    model = Model(call=net, module=net, domain=Domain(0, 1))
    problem = Problem(model, model, x, y, tuple(map(str, range(len(x)))), Linf(0.08), 0)
    price = price_of_one().operations
    dear, cheap = int(price.argmax()), int(price.argmin())
    stage = PlanStage("certify", crown(), share=1.0)
    a_pass = price_of_one().a_pass
    passes = int(EXCHANGE * (price[cheap] + 1) / a_pass) + 1
    found = allot(problem, stage, [dear, cheap], 0.08, passes)
    assert found.tried == [cheap]
    assert list(found.left) == [dear]
    assert allot(problem, dataclasses.replace(stage, share=1e9), [dear, cheap], 0.08, passes).tried == [dear, cheap]


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ('certifier = "crown"\nshare = 0', "share is a number above zero"),
        ('certifier = "crown"\nshare = true', "share is a number above zero"),
        ('certifier = "crown"\nshare = inf', "share is a number above zero"),
        ('certifier = "interval"\nshare = 1', "which interval can't"),
        ('attack = "fgsm"\nshare = 1', "which fgsm can't"),
    ],
)
def test_a_share_that_makes_no_sense_is_refused(stage, said):
    with pytest.raises(UsageError, match=said):
        read_plan(f"[[stage]]\n{stage}", "odd")


def test_a_network_without_bounds_is_left_to_the_certifier_to_refuse(tmp_path):
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = trained()[0]

        def forward(self, z):
            return torch.cumsum(self.inner(z), 1)

    _, x, y = trained()
    net = Odd().eval()
    y = net(x).argmax(1)
    record = audit(net, (x, y), Linf(0.01), plan=plan(1), out=tmp_path / "a")
    assert record.summary.certified_count == 0
    assert all("cumsum" in row.why for row in record.rows if row.verdict == "unknown")
