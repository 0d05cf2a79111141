"""Classifiers of scikit-learn as models: scores that decide as they predict, in every shape they come."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from robustly.adapters.sklearn import from_sklearn
from robustly.attacks.noise import noise
from robustly.core import keys
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Oracle
from robustly.steps import Case
from robustly.threats import Linf
from robustly.threats.base import Domain

TEXTS = ("good film", "fine good plot", "bad film", "dull bad plot", "good", "bad") * 3
NAMES = ("good", "good", "bad", "bad", "good", "bad") * 3

ESTIMATORS = [
    LogisticRegression(),
    LinearSVC(),
    SGDClassifier(random_state=0),
    RandomForestClassifier(11, random_state=0),
    DecisionTreeClassifier(random_state=0),
    KNeighborsClassifier(3),
    GaussianNB(),
    MLPClassifier((5,), max_iter=20, random_state=0, early_stopping=True),
    Perceptron(),
    SVC(break_ties=True),
    SVC(),
    make_pipeline(StandardScaler(), LogisticRegression()),
    FixedThresholdClassifier(LogisticRegression(), threshold=0.3, response_method="predict_proba"),
]


def numbers(classes):
    x, y = make_classification(
        240, 6, n_informative=4, n_classes=classes, n_clusters_per_class=1, class_sep=0.7, random_state=classes
    )
    return x, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_the_highest_score_is_what_it_predicts(estimator, classes):
    if classes > 2 and isinstance(estimator, FixedThresholdClassifier):
        pytest.skip("two classes only")
    x, y = numbers(classes)
    fitted = estimator.fit(x[:160], y[:160])
    model = from_sklearn(fitted)
    z = torch.from_numpy(x[160:]).float()
    answer = model.ask(z)
    wanted = torch.from_numpy(fitted.predict(z.double().numpy()))
    if model.access == Access.LABELS:
        assert answer.dtype == torch.int64
        assert answer.equal(wanted)
        return
    assert answer.dtype == torch.float64
    assert answer.shape == (80, classes)
    assert torch.isfinite(answer).all(), "a probability of zero is no infinity"
    top = answer.topk(2).values
    clear = top[:, 0] > top[:, 1]
    assert answer.argmax(1)[clear].equal(wanted[clear])
    assert clear.float().mean() > 0.8
    assert model.access == Access.SCORES
    assert model.classes == classes


def test_probabilities_survive_as_logarithms_and_margins_keep_their_sign():
    x, y = numbers(2)
    forest = RandomForestClassifier(10, random_state=0).fit(x, y)
    z = torch.from_numpy(x).float()
    probability = forest.predict_proba(z.double().numpy())
    scores = from_sklearn(forest).ask(z)
    assert (probability == 0).any()
    assert torch.allclose(scores.softmax(1), torch.from_numpy(probability))
    goal = Goal(torch.from_numpy(y))
    own = probability[np.arange(len(y)), y] - probability[np.arange(len(y)), 1 - y]
    assert np.array_equal(np.sign(own), goal.margin(scores).sign().numpy())


def test_a_linear_decision_gives_the_probability_of_logistic_regression():
    x, y = numbers(2)
    fitted = LogisticRegression().fit(x, y)
    scores = from_sklearn(fitted).ask(torch.from_numpy(x).float())
    assert np.allclose(scores.softmax(1).numpy(), fitted.predict_proba(x.astype(np.float32).astype(float)))


def test_texts_and_names():
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, NAMES)
    model = from_sklearn(fitted)
    assert model.labels == ("bad", "good")
    assert model.name == "LogisticRegression"
    assert model.ask(("a good film", "bad, bad", "")).argmax(1).tolist()[:2] == [1, 0]
    assert from_sklearn(fitted, ["negative", "positive"]).labels == ("negative", "positive")
    with pytest.raises(UsageError, match="3 labels for 2 classes"):
        from_sklearn(fitted, ["a", "b", "c"])


class Backwards(ClassifierMixin, BaseEstimator):
    """Only predicts, and lists its classes in no order."""

    def fit(self, x, y):
        self.classes_ = np.array(["z", "a", "m"])
        return self

    def predict(self, x):
        return self.classes_[np.arange(len(x)) % 3]


def test_only_predict_gives_labels_in_the_order_of_its_classes():
    model = from_sklearn(Backwards().fit(None, None))
    assert model.access == Access.LABELS
    assert model.ask(("1", "2", "3", "4")).tolist() == [0, 1, 2, 0]
    assert model.labels == ("z", "a", "m")
    assert "neither scores nor probabilities" in model.notes[0]


def test_where_scores_do_not_decide_only_labels_are_granted():
    x, y = numbers(4)
    assert from_sklearn(SVC().fit(x, y)).access == Access.LABELS
    assert "break_ties=True" in from_sklearn(SVC().fit(x, y)).notes[0]
    assert from_sklearn(make_pipeline(SVC(break_ties=True)).fit(x, y)).access == Access.SCORES


def test_no_gradient_is_granted_and_images_are_flattened():
    x, y = numbers(2)
    model = from_sklearn(LogisticRegression().fit(x, y), domain=Domain(-9, 9))
    z = torch.from_numpy(x[:9]).float().reshape(9, 1, 2, 3)
    around, goal = Linf(0.5).at(z, model.domain), Goal(torch.from_numpy(y[:9]))
    oracle = Oracle(model, around, goal)
    noise(5)(Case(around, goal, keys.from_ids(0, "abcdefghi"), oracle))
    assert oracle.ledger.forward.max() <= 5
    assert oracle.ledger.hit.any()
    with pytest.raises(AccessError, match="needs gradients"):
        oracle.gradient(z, lambda scores, goal: scores.sum(1))


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (LogisticRegression(), "not fitted: call fit"),
        (make_pipeline(TfidfVectorizer(), LogisticRegression()), "not fitted"),
        (LinearRegression().fit([[0.0], [1.0]], [0, 1]), "got LinearRegression"),
        (TfidfVectorizer(), "got TfidfVectorizer"),
        (LogisticRegression, "the class LogisticRegression"),
        ("model.pkl", "got str"),
        (KNeighborsClassifier(1).fit([[0.0], [1.0]], [[0, 1], [1, 0]]), "several outputs"),
        (KNeighborsClassifier(1).fit([[0.0], [1.0]], ["one", "one"]), "only the class one"),
    ],
)
def test_refuses_what_is_no_fitted_classifier(estimator, says):
    with pytest.raises(UsageError, match=says):
        from_sklearn(estimator)


def test_nan_and_infinity_pass_through():
    class Broken(LogisticRegression):
        def decision_function(self, x):
            return np.array([np.nan, np.inf, 1.0])

    x, y = numbers(2)
    scores = from_sklearn(Broken().fit(x, y)).ask(torch.from_numpy(x[:3]).float())
    assert torch.isfinite(scores).all(1).tolist() == [False, False, True]
    assert Goal(torch.tensor([0, 1, 1])).met(scores).tolist() == [True, True, False]


def forest(seed):
    texts, y = ("good film", "bad plot", "fine", "dull") * 5, (1, 0, 1, 0) * 5
    return from_sklearn(make_pipeline(TfidfVectorizer(), RandomForestClassifier(5, random_state=seed)).fit(texts, y))


def test_the_digest_is_the_same_in_another_process_and_the_import_is_lazy():
    lines = ["import sys", "from robustly.adapters.sklearn import from_sklearn", "print('sklearn' in sys.modules)"]
    lines += ["from sklearn.feature_extraction.text import TfidfVectorizer"]
    lines += ["from sklearn.ensemble import RandomForestClassifier", "from sklearn.pipeline import make_pipeline"]
    code = "\n".join([*lines, inspect.getsource(forest), "print(forest(0).digest)"])
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == ["False", forest(0).digest]
    assert len(out[1]) == 40


def test_the_digest_follows_what_was_learnt_and_not_what_was_asked():
    model = forest(0)
    model.ask(("good", "bad"))
    assert model.digest == forest(0).digest != forest(1).digest


def test_what_cannot_be_serialised_has_the_digest_of_its_contents_and_a_note():
    def fitted(c: float = 1.0):
        steps = FunctionTransformer(lambda x: x), HashingVectorizer(), LogisticRegression(C=c)
        return from_sklearn(make_pipeline(*steps).fit(TEXTS, NAMES))

    model = fitted()
    assert model.digest == fitted().digest != fitted(0.1).digest
    assert "cannot be serialised" in model.notes[1]
    assert model.ask(TEXTS[:2]).shape == (2, 2)
