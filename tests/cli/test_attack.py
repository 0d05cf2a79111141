"""robustly attack: one attack, its success, distance and cost."""

import re

import numpy as np

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
