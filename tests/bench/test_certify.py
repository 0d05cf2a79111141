"""The benchmark of verdicts: what counts as wrong, and records that are kept."""

import json

import pytest
import torch
from bench.certify import Task, counted, run, wrong
from bench.needles import attacked, saved, spike, trained

from bench import certify
from robustly.core import keys

pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")


def test_what_is_counted():
    done = [
        (Task("a", "sat"), {"verdict": "sat"}),
        (Task("b", "sat"), {"verdict": "unsat"}),
        (Task("c", "unsat"), {"verdict": "sat"}),
        (Task("d", "unsat1"), {"verdict": "unsat"}),
        (Task("e", "unsat"), {"verdict": "unknown"}),
        (Task("f", "unknown"), {"verdict": "sat"}),
    ]
    assert counted(done) == (1, 1)
    assert wrong(done) == 2


def test_records_are_kept_and_only_the_missing_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(certify, "FOLDER", tmp_path)
    monkeypatch.setattr(certify, "NEEDLES", (("spike unsat", 0), ("spike sat", 0), ("spike unsat", 1)))
    first = run(2, ["needles"], missing=True)
    assert [row[2] for row in first.rows] == [2]
    assert all(bar.holds for bar in first.bars)
    (path,) = tmp_path.iterdir()
    told = json.loads(path.read_text())
    told["spike sat 0"]["verdict"] = "unsat"
    path.write_text(json.dumps(told))
    second = run(5, ["needles"], missing=True)
    assert second.rows[0][2] == 3
    assert second.bars[0].holds is False  # the wrong verdict was kept, and counts


def test_needles_are_the_same_from_the_same_seed_and_hidden():
    one, two, other = trained(3, steps=60), trained(3, steps=60), trained(4, steps=60)
    assert torch.equal(one.planted, two.planted)
    assert torch.equal(one.module(one.planted[None]), two.module(two.planted[None]))
    assert not torch.equal(one.planted, other.planted)
    for needle in (one, other):
        scores = needle.module(needle.planted[None])[0]
        assert scores[needle.other] > scores[needle.label]
        assert ((needle.lower <= needle.planted) & (needle.planted <= needle.upper)).all()
        points = attacked(needle.module, needle.lower, needle.upper, 0, keys.from_ids(1, ["b"]), 200, 30)
        found = needle.module(points)
        assert float((found.argmax(1) != needle.label).float().mean()) < 0.05


def test_a_spike_is_what_it_is_written_as():
    for threshold in (0.875, 1.125):
        needle = spike(2, inputs=3, threshold=threshold)
        scores = needle.module(needle.planted[None])[0]
        assert scores.tolist() == [threshold, 1.0]
        assert needle.sat is (threshold < 1)
        points = torch.rand(1000, 3)
        distance = (points - needle.planted).abs().sum(1)
        wanted = (1 - distance / 0.25).clamp_min(0)
        assert torch.allclose(needle.module(points)[:, 1], wanted, atol=1e-5)


def test_a_needle_in_a_file_is_the_needle(tmp_path):
    from robustly.verifying.network import load_network

    needle = spike(1, inputs=3)
    net = load_network(saved(needle, tmp_path / "n.onnx"))
    x = torch.rand(5, 3)
    assert torch.allclose(torch.from_numpy(net.ask(x.numpy())), needle.module(x), atol=1e-6)
