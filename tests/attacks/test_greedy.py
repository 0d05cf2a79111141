"""Greedy search on a real classifier of real sentences: strength, exactness, cost, and texts that break things."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from robustly.adapters.sklearn import from_sklearn
from robustly.attacks.greedy import greedy
from robustly.attacks.noise import noise
from robustly.core import keys, specs
from robustly.core.errors import AccessError, UsageError
from robustly.goals import Goal
from robustly.oracle import Access, Ledger, Limits, Model, Oracle
from robustly.steps import Case, in_turn, restarts
from robustly.threats import Edits, Linf
from robustly.threats.edits import EditSet

TEXTS = Path(__file__).parents[1] / "data" / "texts.tsv"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
ODD = ("", " ", FAMILY, "\u202eright to left\u202c", "e\u0301\u200b\u200b", "\x00\n\t", "\ud800 lone", "aaaa" * 9)


class Seen(TransformerMixin, BaseEstimator):
    """The first step of the pipeline: counts what reaches the model."""

    texts: Counter = Counter()  # noqa: RUF012 - shared on purpose, as pipelines copy their steps

    def fit(self, x, y=None):
        self.fitted_ = True
        return self

    def transform(self, x):
        self.texts.update(x)
        return x


@pytest.fixture(scope="module")
def sentences():
    lines = TEXTS.read_text(encoding="utf-8").split("\n")[:-1]
    labels, texts = zip(*(line.split("\t") for line in lines), strict=True)
    return texts, torch.tensor([int(label) for label in labels])


@pytest.fixture(scope="module")
def model(sentences):
    texts, y = sentences
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True)
    return from_sklearn(make_pipeline(Seen(), features, LogisticRegression(C=10)).fit(texts[:1600], y[:1600].numpy()))


@pytest.fixture(scope="module")
def held_out(sentences, model):
    """The sentences 1600.. that are read correctly, and their labels."""
    texts, y = sentences
    right = (model.ask(texts[1600:]).argmax(1) == y[1600:]).nonzero().squeeze(1)
    assert len(right) > 300, "the classifier has learnt something"
    return tuple(texts[1600 + i] for i in right), y[1600:][right]


def run(attack, model, x, y, threat=Edits(2), *, limits=Limits(), press_on=False, target=None) -> Ledger:  # noqa: B008
    around = threat if isinstance(threat, EditSet) else threat.at(x)
    goal = Goal(y, target)
    oracle = Oracle(model, around, goal, limits=limits, press_on=press_on)
    attack(Case(around, goal, keys.from_ids(0, [ascii(text) for text in x]), oracle))
    return oracle.ledger


def test_breaks_many_more_than_noise_at_equal_queries(model, held_out):
    x, y = held_out[0][:150], held_out[1][:150]
    found = run(greedy(64), model, x, y)
    random = run(noise(128), model, x, y)
    print(f"greedy {int(found.hit.sum())} with {int(found.forward.sum())}, noise {int(random.hit.sum())} of {len(x)}")
    assert found.forward.max() <= 128
    assert found.hit.sum() >= 1.25 * random.hit.sum()
    assert found.hit.sum() >= 60
    assert random.hit.any()
    assert found.best_margin.mean() < random.best_margin.mean()


def test_what_it_finds_is_evidence(model, held_out):
    x, y = held_out[0][:60], held_out[1][:60]
    ledger = run(greedy(64), model, x, y)
    hit = ledger.hit.nonzero().squeeze(1)
    assert len(hit) > 15
    points = tuple(ledger.point[i] for i in hit)
    assert (model.ask(points).argmax(1) != y[hit]).all()
    assert Edits(2).at([x[i] for i in hit]).contains(points).all()
    assert ledger.distance[hit].tolist() == Edits(2).at([x[i] for i in hit]).distance(points).tolist()
    assert (ledger.distance[hit] >= 1).all()


def test_is_exhaustive_where_one_edit_is_allowed(model, held_out):
    x, y, written = held_out[0][:25], held_out[1][:25], "ab "
    broken, best = [], []
    for text, label in zip(x, y, strict=True):
        cuts = [(text[:i], text[i:]) for i in range(len(text) + 1)]
        near = {a + b[1:] for a, b in cuts} | {a + c + b[k:] for a, b in cuts for c in written for k in (0, 1)}
        near = tuple(near - {text})
        margin = Goal(label.expand(len(near))).margin(model.ask(near))
        broken.append(bool((margin <= 0).any()))
        best.append(float(margin.min()))
    ledger = run(greedy(2000), model, x, y, Edits(1, written))
    assert ledger.hit.tolist() == broken
    assert torch.allclose(ledger.best_margin, torch.tensor(best, dtype=torch.float64))
    assert any(broken)
    assert not all(broken)


@pytest.mark.parametrize("queries", [1, 7, 50, 90])
@pytest.mark.parametrize("attack", [greedy(40), noise(60)])
def test_a_budget_is_kept_and_is_what_the_model_saw(model, held_out, queries, attack):
    x, y = held_out[0][:12], held_out[1][:12]
    Seen.texts.clear()
    ledger = run(attack, model, x, y, limits=Limits(queries))
    assert ledger.forward.max() <= queries
    assert ledger.forward.sum() == sum(Seen.texts.values())
    assert (
        ledger.forward[~ledger.hit] == min(queries, 80 if queries > 60 and attack.spec.name == "greedy" else 60)
    ).all()


@pytest.mark.parametrize("limits", [Limits(), Limits(50)])
def test_each_text_alone_is_as_in_the_batch(model, held_out, limits):
    x, y = held_out[0][:12], held_out[1][:12]
    threat = EditSet(x, torch.arange(12) % 4, "abcdefgh ")
    for attack in (greedy(32), noise(20), restarts(greedy(8), 3)):
        whole = run(attack, model, x, y, threat, limits=limits)
        for i in range(len(x)):
            one = run(attack, model, x[i : i + 1], y[i : i + 1], threat.take(torch.tensor([i])), limits=limits)
            assert one.point == (whole.point[i],)
            for name in ("hit", "firm", "forward", "distance", "best_margin"):
                assert getattr(one, name)[0] == getattr(whole, name)[i], name


def test_same_key_same_texts_and_other_keys_others(model, held_out):
    x, y = held_out[0][:20], held_out[1][:20]
    assert run(greedy(), model, x, y).point == run(greedy(), model, x, y).point
    again = in_turn(noise(1), greedy())  # folds the key anew
    assert run(greedy(), model, x, y).point != run(again, model, x, y).point


def test_decided_rows_cost_nothing_more(model, held_out):
    x, y = held_out[0][:40], held_out[1][:40]
    once = run(greedy(64), model, x, y)
    more = run(in_turn(greedy(64), restarts(greedy(64), 2)), model, x, y)
    assert more.hit.sum() >= once.hit.sum()
    early = once.firm & (once.forward <= 64)
    assert early.any()
    assert (more.forward[~more.hit] > 300).all()
    on = run(greedy(64), model, x, y, press_on=True)
    assert (on.forward == 128).all()


def test_targets_and_no_edits(model, held_out):
    x, y = held_out[0][:30], held_out[1][:30]
    toward = run(greedy(64), model, x, y, target=1 - y)
    assert toward.hit.any()
    none = run(greedy(64), model, x, y, Edits(0))
    assert not none.hit.any()
    assert none.forward.sum() == 0


@pytest.mark.parametrize("attack", [greedy(8), noise(4)])
@pytest.mark.parametrize("alphabet", ["", "abc \u00e9"])
def test_odd_texts(model, attack, alphabet):
    ledger = run(attack, model, ODD, torch.zeros(len(ODD), dtype=torch.int64), Edits(2, alphabet))
    assert len(ledger.point) == len(ODD)
    assert (ledger.forward[1:] > 0).all()


def test_a_million_characters():
    x = ("0123456789" * 100_000, "a123456789" * 100_000)

    def brittle(texts):
        known = torch.tensor([float(text == x[1]) for text in texts], dtype=torch.float64)
        return torch.stack((known, torch.full_like(known, 0.5)), 1)

    for attack, most in ((greedy(8), 24), (noise(3), 3)):
        ledger = run(attack, Model(brittle, access=Access.SCORES), x, torch.tensor([1, 0]), Edits(3))
        assert ledger.hit.tolist() == [False, True]
        assert ledger.forward[0] == most


def test_a_model_that_answers_nan_is_broken_by_it():
    def nan(texts):
        return torch.full((len(texts), 2), float("nan"), dtype=torch.float64)

    for press_on in (False, True):
        ledger = run(
            greedy(4), Model(nan, access=Access.SCORES), ("some", "texts"), torch.tensor([0, 1]), press_on=press_on
        )
        assert ledger.hit.all()
        assert ledger.odd.all()


def test_labels_are_enough_for_noise_and_not_for_greedy(model, held_out):
    x, y = held_out[0][:100], held_out[1][:100]

    def predict(texts):
        return model.ask(texts).argmax(1)

    only = Model(predict, access=Access.LABELS, classes=2, chunk=7)
    assert run(noise(30), only, x, y).hit.equal(run(noise(30), model, x, y).hit)
    with pytest.raises(AccessError, match="needs scores"):
        run(greedy(), only, x, y)


def test_refuses_sets_without_moves_and_says_what_to_use():
    x = torch.rand(2, 3)
    ball = Linf(0.1).at(x)
    goal = Goal(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(UsageError, match="LinfBall has none; for arrays use pgd"):
        greedy()(Case(ball, goal, keys.from_ids(0, "ab"), Oracle(Model(lambda z: z), ball, goal)))


@pytest.mark.parametrize("width", [1, 0, -3])
def test_refuses_a_width_that_asks_nothing(width):
    with pytest.raises(UsageError, match="at least 2"):
        greedy(width)


def test_is_in_the_registry():
    entry = specs.lookup("attack", "greedy")
    assert entry.needs == "scores"
    assert str(specs.build("attack", "greedy", {"width": 8}).spec) == "greedy(width=8)"
    assert np.isscalar(entry.parameters["width"])
