"""robustly attack: one attack, its success, distance and cost."""

import re

import numpy as np
import pytest

ATTACK = ("attack", "pgd", "net.py:counted", "data.npz", "--threat")


def test_success_distance_and_passes_are_those_of_the_linear_model(here, run, monkeypatch):
    monkeypatch.setenv("ROWS", str(here / "rows"))
    said = run(*ATTACK, "linf:0.1", "--set", "steps=40", "--set", "loss=margin", "--batch", "5", "--out", "adv.npz")
    assert said.code == 0
    assert "broken 3 of 24: success rate 12.5 %" in said.out
    assert "robust accuracy against this attack alone 87.5 %" in said.out
    assert "median distance of the counterexamples 0.1" in said.out
    passes = re.search(r"passes ([\d,]+) forward", said.out)
    assert passes is not None
    seen = len((here / "rows").read_text())
    assert int(passes[1].replace(",", "")) == seen
    with np.load(here / "adv.npz", allow_pickle=False) as saved, np.load(here / "data.npz") as data:
        assert saved["success"].sum() == 3
        moved = np.abs(saved["x_adv"] - data["x"][saved["index"]]).max(1)
        assert (moved <= 0.1 + 1e-6).all()
        assert (moved[saved["success"]] > 0.05).all()
        assert (moved[~saved["success"]] == 0).all()
        sums = saved["x_adv"][:, :3] + saved["x_adv"][:, 3:]
        assert ((sums.argmax(1) != saved["y"]) >= saved["success"]).all()


def test_the_closest_point_is_nearer_than_the_first(here, run):
    first = run("attack", "pgd", "net.py:build", "data.npz", "--threat", "l2:1", "-q")
    near = run("attack", "cw", "net.py:build", "data.npz", "--threat", "l2:1", "-q", "--closest", "--set", "steps=60")
    assert first.code == near.code == 0, near.err
    distances = [float(re.search(r"counterexamples ([\d.]+)", said.out)[1]) for said in (first, near)]
    assert distances[1] < distances[0]


def test_the_least_distance_has_no_radius(here, run):
    """The nearest border of example i is 0.075 + 0.01 i away, in linf."""
    said = run(
        "attack", "fmn", "net.py:build", "data.npz", "--threat", "linf:inf", "--set", "steps=60", "--out", "adv.npz"
    )
    assert said.code == 0, said.err
    assert "warning" not in said.err
    assert "robust accuracy" not in said.out  # of no radius
    with np.load(here / "adv.npz") as saved:
        assert saved["success"].all()
        assert np.allclose(saved["distance"], 0.075 + 0.01 * saved["index"], rtol=0.01)


def test_an_audit_has_a_radius(here, run):
    said = run("audit", "net.py:build", "data.npz", "--threat", "linf:inf")
    assert said.code == 2
    assert "For the least distance run one attack" in said.err


def test_a_target_leaves_out_its_own_class_and_a_budget_holds(here, run):
    said = run(*ATTACK, "linf:0.6", "--target", "1", "--queries", "3", "--out", "adv.npz")
    assert "read as labelled and not labelled 1 16" in said.out
    with np.load(here / "adv.npz") as saved:
        assert (saved["y"] != 1).all()
        assert saved["forward"].max() <= 4  # and one of the judge


def test_tables_are_arguments_too(here, run):
    said = run(
        "attack", "per_target", "net.py:build", "data.npz", "--threat", "linf:0.1", "-q",
        "--set", 'inner={attack="apgd", steps=5, loss="margin"}', "--set", "targets=2",
    )  # fmt: skip
    assert said.code == 0
    assert said.out.startswith("per_target(inner=apgd(steps=5, loss=margin")


def test_nothing_to_attack(here, run):
    said = run("attack", "pgd", "net.py:nan", "data.npz", "--threat", "linf:0.1", "--access", "scores")
    assert said.code == 2  # a callable that gives scores only has no gradients
    said = run("attack", "noise", "net.py:nan", "data.npz", "--threat", "linf:0.1", "--out", "adv.npz")
    assert said.code == 0
    assert "nothing to attack" in said.out


DOUBTFUL = """
import torch
from torch import nn


class Reading(nn.Module):
    def __init__(self, read):
        super().__init__()
        self.read = read

    def forward(self, z):
        return self.read(z[:, :3] + z[:, 3:], z)


def chances():
    return Reading(lambda s, z: s.softmax(1)).eval()


def stepped():
    return Reading(lambda s, z: (20 * s).round()).eval()


def lost():
    return Reading(lambda s, z: s + ((z * 0).sqrt() * 0).sum(1, keepdim=True)).eval()


def torn():
    return Reading(lambda s, z: s.detach()).eval()


def alone():
    return Reading(lambda s, z: s[:, :1]).eval()


def lengths():
    return lambda texts: torch.tensor([[float(len(t)), 3.0, 1.0] for t in texts])
"""


@pytest.fixture
def doubtful(here):
    (here / "odd.py").write_text(DOUBTFUL)
    (here / "texts.tsv").write_text("text\tlabel\nfree money\t0\nhello you\t0\n")
    with np.load(here / "data.npz") as data:
        np.savez(here / "whole.npz", x=(9 * data["x"]).astype(np.int64), y=data["y"])
    return here


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("chances", "warning: the scores look like probabilities"),
        ("stepped", "warning: masked gradients: every gradient was zero or not finite for 24 examples"),
        ("lost", "warning: masked gradients: every gradient was zero or not finite for 24 examples"),
    ],
)
def test_a_doubtful_model_is_attacked_with_a_warning(doubtful, run, model, said):
    words = (
        "attack",
        "pgd",
        f"odd.py:{model}",
        "data.npz",
        "--threat",
        "linf:0.01",
        "--set",
        "steps=3",
        "--batch",
        "7",
    )
    found = run(*words, "--out", "adv.npz")
    assert found.code == 0
    assert found.err.count("warning: ") == 1  # once, not once a batch
    assert said in found.err
    with np.load(doubtful / "adv.npz") as saved:
        assert saved["flat"].all() == (model != "chances")
        assert not saved["odd"].any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pgd", "odd.py:alone", "data.npz", "linf:0.1"), "1 class and nothing to confuse"),
        (("pgd", "odd.py:torn", "data.npz", "linf:0.1"), "pgd needs gradients, the model grants scores"),
        (("pgd", "net.py:build", "whole.npz", "linf:0.1"), "inputs are int64"),
        (
            ("cw", "odd.py:lengths", "texts.tsv", "edits:2"),
            "cw walks in Ball, and edits:2 is an EditSet.* greedy, noise",
        ),
        (("cw_linf", "odd.py:lengths", "texts.tsv", "edits:2"), "cw_linf walks in LinfBall, and edits:2 is an EditSet"),
        (("restarts", "odd.py:lengths", "texts.tsv", "edits:2", "--set", "inner=cw"), "cw walks in Ball, and edits:2"),
        (("pgd", "net.py:build", "data.npz", "linf:0.1", "--set", "steps=2.0"), r"got 2\.0\. Write pgd\(steps=2\)"),
        (("ead", "net.py:build", "data.npz", "linf:0.1"), "ead walks in L1Ball.*, and linf:0.1 is a LinfBall"),
    ],
)
def test_what_cannot_be_attacked_is_refused_with_the_remedy(doubtful, run, words, said):
    name, model, data, threat, *more = words
    found = run("attack", name, model, data, "--threat", threat, *more)
    assert found.code == 2
    assert re.search(said, found.err), found.err
    assert "Traceback" not in found.err
