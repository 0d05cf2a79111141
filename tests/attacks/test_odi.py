"""ODI: starts that differ in what the model answers."""

from __future__ import annotations

import torch

from robustly.attacks.noise import noise
from robustly.attacks.odi import odi
from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Oracle
from robustly.steps import Case, uniform
from robustly.steps.diverse import combination, output_diversified
from robustly.steps.keyed import keyed
from robustly.threats import L2, Grid, Linf

from .small import small


def starts(threat, start, seeds=20):
    """The problem and the start of each seed, (S, B, ...)."""
    problem, out = small(), []
    around, goal = threat.at(problem.x, problem.model.domain), Goal(problem.y)
    for seed in range(seeds):
        key = keys.from_ids(seed, [str(i) for i in range(len(problem.x))])
        out.append(start(Case(around, goal, key, Oracle(problem.model, around, goal, press_on=True))))
        assert around.contains(out[-1]).all()
    return problem, torch.stack(out)


def test_answers_at_the_starts_are_spread_wider_than_at_uniform_ones():
    """The claim of the paper, and why the start is worth its passes."""
    for threat in (Linf(0.05), L2(0.3)):
        spread = {}
        for start in (uniform, output_diversified):
            problem, z = starts(threat, start)
            answers = problem.model.ask(z.flatten(0, 1)).view(len(z), len(problem.x), -1)
            spread[start] = answers.std(0).mean()
        assert spread[output_diversified] > 2.5 * spread[uniform]


def test_the_start_climbs_the_combination_it_drew():
    problem = small()
    around, goal = Linf(0.05).at(problem.x, problem.model.domain), Goal(problem.y)
    key = keys.from_ids(0, [str(i) for i in range(len(problem.x))])
    oracle = Oracle(problem.model, around, goal, press_on=True)
    z = output_diversified(Case(around, goal, key, oracle))
    drawn = keyed(goal, keys.fold(key, 1))
    risen = combination(problem.model.ask(z), drawn) - combination(problem.model.ask(problem.x), drawn)
    assert (risen > 0).double().mean() > 0.95
    assert oracle.ledger.forward.unique().tolist() == oracle.ledger.backward.unique().tolist() == [2]


def test_its_points_are_members_of_sets_with_gaps():
    problem = small()
    eighth = (problem.x * 255).round() / 255
    threat = Grid(Linf(8 / 255))
    around, goal = threat.at(eighth, problem.model.domain), Goal(problem.y)
    oracle = Oracle(problem.model, around, goal, press_on=True)
    problem.asked.clear()
    output_diversified(Case(around, goal, keys.from_ids(0, [str(i) for i in range(len(eighth))]), oracle))
    assert len(problem.asked) == 2
    assert all(around.contains(z).all() for z in problem.asked)


def test_breaks_much_more_than_noise_and_no_less_than_pgd():
    found = small().run(odi(10, times=3), Linf(0.08)).firm.sum()
    assert found > 1.5 * small().run(noise(30), Linf(0.08)).firm.sum()
    assert found >= small().run(pgd(10, 0.25), Linf(0.08)).firm.sum()


def test_passes_of_a_survivor():
    ledger = small().run(odi(5, times=3), Linf(1e-4))
    assert ledger.forward.unique().tolist() == [3 * 8]
    assert ledger.backward.unique().tolist() == [3 * 7]
