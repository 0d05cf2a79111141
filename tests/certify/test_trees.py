"""Least margins of tree ensembles: those of brute force over all cells, and never at odds with an attack."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from robustly import audit
from robustly.adapters.sklearn import from_sklearn
from robustly.certify.trees import least_margin, merge, reachable, trees
from robustly.core.errors import UsageError
from robustly.goals import Goal
from robustly.oracle.trees import at_most, trees_of
from robustly.threats import L2, Domain, Grid, Linf


def estimators(classes):
    made = [
        DecisionTreeClassifier(max_depth=5, random_state=0),
        RandomForestClassifier(6, max_depth=3, random_state=0),
        ExtraTreesClassifier(5, max_depth=3, random_state=0),
        GradientBoostingClassifier(n_estimators=4, max_depth=2, random_state=0),
        HistGradientBoostingClassifier(max_iter=4, max_depth=2, min_samples_leaf=5, early_stopping=False),
    ]
    try:
        from xgboost import XGBClassifier

        made.append(XGBClassifier(n_estimators=4, max_depth=2, n_jobs=1))
    except ImportError:
        pass
    try:
        from lightgbm import LGBMClassifier

        made.append(LGBMClassifier(n_estimators=4, max_depth=2, verbose=-1, n_jobs=1, min_child_samples=5))
    except ImportError:
        pass
    return made


def data(classes=2, levels=10):
    """Few levels, so that many values are thresholds or lie just beside them."""
    x, y = make_classification(
        200, 3, n_informative=3, n_redundant=0, n_classes=classes, n_clusters_per_class=1, random_state=classes
    )
    x = (x - x.min(0)) / (x.max(0) - x.min(0))
    return np.round(x * levels).astype(np.float32) / levels, y


def cells(ensemble, low, high):
    """A point of every cell of the box: beside each threshold, both sides, and the corners."""
    sides = []
    for d in range(ensemble.features):
        cuts = np.unique(ensemble.high[:, d])
        points = np.concatenate(
            (cuts, np.nextafter(cuts, np.float32(np.inf)), np.stack((-at_most(-low[d]), at_most(high[d]))))
        )
        sides.append(np.unique(points[(points >= low[d]) & (points <= high[d])]))
    return np.array(list(itertools.product(*sides)), dtype=np.float32)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("number", range(len(estimators(2))))
def test_the_least_margin_is_that_of_all_cells(classes, number):
    x, y = data(classes)
    estimator = estimators(classes)[number].fit(x, y)
    model = from_sklearn(estimator, domain=Domain(0, 1))
    ensemble = trees_of(model)
    assert ensemble is not None, model.notes
    g = np.random.default_rng(0)
    for i in g.choice(len(x), 6, replace=False):
        size = float(g.choice([0.05, 0.15, 0.3, 1.0]))
        around = Linf(size).at(torch.from_numpy(x[i : i + 1]), model.domain)
        low, high = (side[0].numpy() for side in around.box())
        points = cells(ensemble, low, high)
        own, said = ensemble.scores(points), model.ask(torch.from_numpy(points)).double().numpy()
        assert np.abs((np.exp(said) if ensemble.log else said) - own).max() <= ensemble.error + 1e-12
        label = int(said[0].argmax())
        margins = [(own[:, label] - own[:, k]).min() for k in range(classes) if k != label]
        pieces = reachable(ensemble, low, high)
        for k, wanted in zip([k for k in range(classes) if k != label], margins, strict=True):
            for merged in (1, 16, 256):
                found = least_margin(ensemble, pieces, label, k, nodes=10**6, merged=merged)
                assert found.exact
                assert found.lower == pytest.approx(wanted, abs=1e-9)
            assert least_margin(ensemble, pieces, label, k, nodes=1).lower <= wanted + 1e-9
        goal = Goal(torch.tensor([label]))
        bound = trees(nodes=10**6)(model, around, goal)
        assert bool(bound.certified) == (min(margins) > ensemble.error)
        worst = min(Goal(torch.full((len(said),), label)).margin(torch.from_numpy(said)).tolist())
        assert float(bound.lower) <= worst + 1e-9
        assert bool(bound.certified) == (worst > 0) or abs(min(margins)) <= 2 * ensemble.error
        aimed = Goal(torch.tensor([label]), torch.tensor([(label + 1) % classes]))
        reached = (said.argmax(1) == int(aimed.target)).any()
        assert not (trees(nodes=10**6)(model, around, aimed).certified and reached)


def test_a_search_that_is_cut_short_still_bounds():
    x, y = data()
    model = from_sklearn(RandomForestClassifier(60, random_state=0).fit(x, y), domain=Domain(0, 1))
    z = torch.from_numpy(x[:12])
    goal, around = Goal(model.ask(z).argmax(1)), Linf(0.12).at(z, model.domain)
    exact, short = trees(nodes=10**6)(model, around, goal), trees(nodes=1, merged=1)(model, around, goal)
    assert exact.certified.any()
    assert not (short.certified & ~exact.certified).any()
    assert (short.certified.sum() < exact.certified.sum()) or short.certified.all()
    assert any("stopped after 1 boxes" in (w or "") for w in short.why)
    alone = trees()(model, around.take(torch.tensor([3])), goal.take(slice(3, 4)))
    assert alone.lower[0] == trees()(model, around, goal).lower[3]


def test_merging_keeps_every_sum():
    x, y = data()
    ensemble = trees_of(from_sklearn(RandomForestClassifier(8, max_depth=3, random_state=0).fit(x, y)))
    low, high = np.zeros(3), np.ones(3)
    pieces = reachable(ensemble, low, high)
    points = np.random.default_rng(0).random((200, 3), dtype=np.float32)
    varied = [d for d in range(3) if np.isfinite(np.unique(ensemble.high[:, d])).sum()]
    for most in (1, 8, 64, 4096):
        joint = merge(pieces, most)
        assert len(joint.starts) <= len(pieces.starts)
        assert max(np.bincount(joint.group)) <= max(most, max(np.bincount(pieces.group)))
        for z in points:
            inside = ((joint.low < z[varied]) & (z[varied] <= joint.high)).all(1)
            assert inside.sum() == len(joint.starts)
            assert np.allclose(joint.worth[inside].sum(0) + ensemble.base, ensemble.scores(z[None])[0])
    assert len(joint.starts) < len(pieces.starts)


def test_no_attack_finds_a_counterexample_within_a_certificate():
    x, y = data(3)
    model = from_sklearn(GradientBoostingClassifier(n_estimators=10, random_state=0).fit(x, y), domain=Domain(0, 1))
    record = audit(model, (torch.from_numpy(x[:60]), torch.from_numpy(y[:60])), Linf(0.12), range=(0, 1))
    assert record.plan == "trees"
    assert record.status == "complete"
    verdicts = {v: sum(r.verdict == v for r in record.rows) for v in ("broken", "certified", "unknown")}
    assert verdicts["broken"] >= 3
    assert verdicts["certified"] >= 5
    assert verdicts["unknown"] <= 12


def test_other_sets_are_enclosed():
    x, y = data()
    model = from_sklearn(RandomForestClassifier(10, random_state=0).fit(x, y), domain=Domain(0, 1))
    z = torch.from_numpy(x[:20])
    goal = Goal(model.ask(z).argmax(1))
    box = trees()(model, Linf(0.08).at(z, model.domain), goal)
    ball = trees()(model, L2(0.08).at(z, model.domain), goal)
    assert torch.equal(box.certified, ball.certified)
    assert 0 < box.certified.sum() < 20
    stored = (z * 255).round() / 255
    grid = Grid(Linf(0.08)).at(stored, model.domain)
    assert torch.equal(
        trees()(model, grid, goal).certified, trees()(model, Linf(0.08).at(stored, model.domain), goal).certified
    )


def test_trees_that_are_not_the_models_certify_nothing():
    from dataclasses import replace

    x, y = data()
    one = from_sklearn(DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, y), domain=Domain(0, 1))
    other = from_sklearn(DecisionTreeClassifier(max_depth=3, random_state=0).fit(x, 1 - y), domain=Domain(0, 1))
    z = torch.from_numpy(x[:4])
    bound = trees()(replace(one, structure=other.structure), Linf(0.001).at(z, one.domain), Goal(one.ask(z).argmax(1)))
    assert not bound.certified.any()
    assert "do not answer as the model does" in bound.why[0]
    assert (
        "no trees"
        in trees()(replace(one, structure=None), Linf(0.1).at(z, one.domain), Goal(one.ask(z).argmax(1))).why[0]
    )
    with pytest.raises(UsageError, match="at least 1"):
        trees(nodes=0)
