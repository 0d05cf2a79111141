"""Trees as they are read: the same answers on, above and below every threshold, to the last bit of float32."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from robustly.adapters.models import load_model
from robustly.adapters.trees.nodes import below
from robustly.certify.trees import trees
from robustly.goals import Goal
from robustly.oracle.trees import at_most, trees_of
from robustly.threats import Domain, Linf


def data(classes=2):
    x, y = make_classification(300, 4, n_informative=4, n_redundant=0, n_classes=classes, random_state=0)
    return x.astype(np.float32), y


def thresholds(trees, x):
    """Inputs that lie on, just above and just below a threshold in one feature."""
    out = []
    for d in range(trees.features):
        cuts = np.unique(trees.high[np.isfinite(trees.high[:, d]), d])
        for value in (cuts, np.nextafter(cuts, np.float32(np.inf)), np.nextafter(cuts, np.float32(-np.inf))):
            z = x[np.arange(len(cuts)) % len(x)].copy()
            z[:, d] = value
            out.append(z)
    return np.concatenate(out)


def agrees(estimator, x):
    model = load_model(estimator)
    ensemble = trees_of(model)
    assert ensemble is not None, model.notes
    z = np.concatenate((x, thresholds(ensemble, x)))
    said, own = model.ask(torch.from_numpy(z)).double().numpy(), ensemble.scores(z)
    assert np.abs((np.exp(said) if ensemble.log else said) - own).max() <= ensemble.error + 1e-12
    labels = estimator.classes_[said.argmax(1)]
    clear = np.abs(np.diff(np.sort(own, 1)[:, -2:], axis=1))[:, 0] > ensemble.error
    assert (labels == estimator.predict(z))[clear].all()
    return model


@pytest.mark.parametrize("classes", [2, 3])
def test_xgboost(classes):
    xgboost = pytest.importorskip("xgboost")
    x, y = data(classes)
    agrees(xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1).fit(x, y), x)
    agrees(
        xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1, tree_method="exact", base_score=0.3).fit(x, y), x
    )
    stopped = xgboost.XGBClassifier(n_estimators=200, learning_rate=1.0, early_stopping_rounds=2, n_jobs=1)
    stopped.fit(x[:200], y[:200], eval_set=[(x[200:], y[200:])], verbose=False)
    agrees(stopped, x)
    marked = load_model(xgboost.XGBClassifier(n_estimators=2, missing=0.0, n_jobs=1).fit(x, y))
    assert trees_of(marked) is None
    assert any("missing value" in note for note in marked.notes)
    assert trees_of(load_model(xgboost.XGBClassifier(booster="gblinear", n_jobs=1).fit(x, y))) is None
    agrees(xgboost.XGBClassifier(n_estimators=9, booster="dart", rate_drop=0.5, n_jobs=1).fit(x, y), x)


@pytest.mark.parametrize("base", [0.01, 0.9897, 0.99895, 0.99975, 0.999997])
def test_the_constant_of_xgboost_is_rounded_as_it_rounds_it(base):
    """1 - p of a likely class has few bits left in float32, and the constant is made from it."""
    xgboost = pytest.importorskip("xgboost")
    x, y = data()
    for objective in ("binary:logistic", "binary:logitraw"):
        agrees(xgboost.XGBClassifier(n_estimators=1, base_score=base, objective=objective, n_jobs=1).fit(x, y), x)


def test_splits_by_category_have_no_certificate_and_say_so():
    x, y = data()
    x[:, 0] = np.abs(np.round(3 * x[:, 0]))
    y = (x[:, 0] % 3 == 1).astype(int)
    made = [HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(x, y)]
    try:
        import lightgbm

        made.append(
            lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1, min_child_samples=2).fit(
                x, y, categorical_feature=[0]
            )
        )
        import xgboost

        kinds = ["c", "q", "q", "q"]
        made.append(
            xgboost.XGBClassifier(
                n_estimators=3, feature_types=kinds, enable_categorical=True, max_cat_to_onehot=1, n_jobs=1
            ).fit(x, y)
        )
    except ImportError:
        pass
    for estimator in made:
        model = load_model(estimator)
        assert trees_of(model) is None
        assert any("they split by category" in note for note in model.notes)
        z = torch.from_numpy(x[:3])
        bound = trees()(model, Linf(0.1).at(z, Domain()), Goal(torch.from_numpy(y[:3])))
        assert not bound.certified.any()
        assert "they split by category" in bound.why[0]


@pytest.mark.parametrize("classes", [2, 3])
def test_lightgbm(classes):
    lightgbm = pytest.importorskip("lightgbm")
    x, y = data(classes)
    agrees(lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1).fit(x, y), x)
    agrees(
        lightgbm.LGBMClassifier(n_estimators=8, boosting_type="dart", drop_rate=0.5, verbose=-1, n_jobs=1).fit(x, y), x
    )
    rounded = np.round(x).astype(np.float32)
    agrees(lightgbm.LGBMClassifier(n_estimators=8, verbose=-1, n_jobs=1).fit(rounded, y), rounded)
    zeros = load_model(
        lightgbm.LGBMClassifier(n_estimators=3, zero_as_missing=True, verbose=-1, n_jobs=1).fit(rounded, y)
    )
    assert trees_of(zeros) is None
    assert any("0 for a missing value" in note for note in zeros.notes)
    forest = lightgbm.LGBMClassifier(
        n_estimators=3, boosting_type="rf", subsample=0.5, subsample_freq=1, verbose=-1, n_jobs=1
    ).fit(x, y)
    assert trees_of(load_model(forest)) is None


@pytest.mark.parametrize("classes", [2, 3])
def test_scikit_learn(classes):
    x, y = data(classes)
    for estimator in (
        RandomForestClassifier(7, random_state=0),
        DecisionTreeClassifier(random_state=0),
        GradientBoostingClassifier(n_estimators=5, random_state=0),
        GradientBoostingClassifier(n_estimators=5, init="zero", random_state=0),
        HistGradientBoostingClassifier(max_iter=5),
    ):
        agrees(estimator.fit(x, y), x)
    odd = load_model(GradientBoostingClassifier(n_estimators=2, init=DecisionTreeClassifier()).fit(x, y))
    assert any("begin from a DecisionTreeClassifier" in note for note in odd.notes)


class Turned(RandomForestClassifier):
    def predict_proba(self, X):
        return super().predict_proba(X)[:, ::-1]


def test_what_has_no_trees_has_no_structure():
    x, y = data()
    assert load_model(Turned(3).fit(x, y)).structure is None
    assert load_model(make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(x, y)).structure is None


def test_cuts():
    t = np.array([0.1, 0.5, np.inf, 1e-50, -0.1])
    assert (at_most(t).astype(np.float64) <= t).all()
    finite = t[np.isfinite(t)]
    assert (np.nextafter(at_most(finite), np.float32(np.inf)).astype(np.float64) > finite).all()
    assert at_most(np.array([0.5]))[0] == 0.5
    assert below(np.float32([0.5]))[0] < 0.5
    assert below(np.float32([0.0]))[0] < 0
