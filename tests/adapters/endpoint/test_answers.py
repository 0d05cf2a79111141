"""Every way in which an answer may be wrong has a sentence of its own."""

import json

import pytest
import torch

from robustly.adapters.endpoint.answers import Reader
from robustly.adapters.endpoint.faults import Misfit, Passing
from robustly.adapters.endpoint.settings import Settings
from robustly.core.errors import UsageError


def reader(names: tuple[str, ...] = (), **answer: str) -> Reader:
    return Reader(
        Settings.model_validate({"url": "http://h/", "names": names, "answer": answer or {"scores": "scores"}})
    )


def read(made: Reader, said: object, count: int) -> torch.Tensor:
    return made.read(made.rows(json.dumps(said).encode(), count))


def test_scores_and_labels_in_every_form():
    two = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert torch.equal(read(reader(), {"scores": two.tolist()}, 2), two)
    assert torch.equal(read(reader(), {"scores": [0.25, 0.75]}, 1), two[:1])
    assert torch.equal(read(reader(), {"scores": [[0.25, 0.75]]}, 1), two[:1])
    deep = reader(scores="outputs[*].probabilities")
    assert torch.equal(read(deep, {"outputs": [{"probabilities": r} for r in two.tolist()]}, 2), two)
    named = [{"label": "dog", "score": 0.75}, {"label": "cat", "score": 0.25}]
    assert torch.equal(read(reader(("cat", "dog"), scores="[*]"), named, 1), two[:1])
    assert torch.equal(read(reader(("cat", "dog"), scores="@"), [named, [{"label": "cat", "score": 1}, {"label": "dog", "score": 0}]], 2), two)  # fmt: skip
    assert torch.equal(read(reader(("cat", "dog"), scores="p"), {"p": {"dog": 0.75, "cat": 0.25}}, 1), two[:1])
    assert read(reader(("cat", "dog"), label="labels"), {"labels": ["dog", "cat"]}, 2).tolist() == [1, 0]
    assert read(reader(label="y"), {"y": 3}, 1).tolist() == [3]
    assert read(reader(("cat", "dog"), label="y"), {"y": -1}, 1).tolist() == [-1]  # none: tied
    assert read(reader(label="y"), {"y": [3.0, 1]}, 2).tolist() == [3, 1]


def test_an_endpoint_that_gives_labels_only_is_read_so_from_the_first_answer():
    made = reader(scores="scores", label="labels")
    assert read(made, {"labels": [1, 0]}, 2).tolist() == [1, 0]
    assert made.labels_only


WRONG = [
    ({"score": [[1, 2]]}, 'nothing stands at "scores" in the answer; its keys are score'),
    ({"scores": [[1, 2]] * 3}, r'"scores" in the answer gives 3 rows for 2 inputs'),
    ({"scores": 5}, '"scores" in the answer gives a number for 2 inputs'),
    ({"scores": [[1, float("nan")], [1, 2]]}, "answered nan as a score, which is no finite number"),
    ({"scores": [[1, float("inf")], [1, 2]]}, "answered inf as a score"),
    ({"scores": [[1, "NaN"], [1, 2]]}, 'answered "NaN" as a score'),
    ({"scores": [["0.1", "0.9"], [1, 2]]}, 'texts for scores, such as "0.1"'),
    ({"scores": [[1, None], [1, 2]]}, "answered null as a score"),
    ({"scores": [[1, 2], [1, 2, 3]]}, "answered 3 scores, where 2 are wanted"),
    ({"scores": [[1], [1]]}, "answered 1 scores, where at least 2 are wanted"),
    ({"scores": ["cat", "dog"]}, "answered a text where a row of scores should stand"),
    ({"scores": [{"a": 1}, {"a": 1}]}, r"scores by name: write names = "),
]


@pytest.mark.parametrize(("said", "told"), WRONG, ids=[told[:30] for _, told in WRONG])
def test_a_wrong_answer_is_told(said, told):
    with pytest.raises(Misfit, match=told):
        read(reader(), said, 2)


def test_wrong_labels_are_told():
    with pytest.raises(Misfit, match='the label "fox", which the data do not know: cat, dog'):
        read(reader(("cat", "dog"), label="y"), {"y": "fox"}, 1)
    with pytest.raises(Misfit, match='the label "fox", a word: write names'):
        read(reader(label="y"), {"y": "fox"}, 1)
    with pytest.raises(Misfit, match="the label 7, which is none of the 2 known"):
        read(reader(("cat", "dog"), label="y"), {"y": 7}, 1)
    with pytest.raises(Misfit, match='no score for "dog"'):
        read(reader(("cat", "dog"), scores="p"), {"p": {"cat": 0.25}}, 1)
    made = reader(("cat", "dog"), scores="scores", label="labels")
    made.heard = True
    with pytest.raises(Misfit, match="without scores, which a score attack needs"):
        read(made, {"labels": [1]}, 1)


def test_no_json_may_be_better_the_next_time():
    with pytest.raises(Passing, match="is no JSON: <html>502</html>"):
        reader().rows(b"<html>502</html>", 1)
    with pytest.raises(Passing, match="is no JSON: nothing at all"):
        reader().rows(b"", 1)
    with pytest.raises(Passing, match="is no JSON"):
        reader().rows(b"[" * 100_000, 1)


def test_a_path_that_is_none():
    with pytest.raises(UsageError, match=r'answer.scores = "a\[" of the endpoint is no JMESPath'):
        reader(scores="a[")


def test_a_complaint_only_where_no_row_makes_sense():
    made = reader()
    made.read([[0.5, 0.5]])
    assert made.complaint([[1.0, 2.0], [1.0, None]]) is None
    assert "null" in str(made.complaint([[1.0, None], [None, 1.0]]))


@pytest.mark.parametrize("score", [10**400, -(10**400), 1e39], ids=["large", "low", "float"])
def test_a_score_beyond_float32_is_told(score):
    with pytest.raises(Misfit, match="beyond the range of float32"):
        read(reader(), {"scores": [[0.0, score]]}, 1)


@pytest.mark.parametrize("label", [10**30, 1e300, -(10**30)])
def test_a_label_no_integer_holds_is_told(label):
    with pytest.raises(Misfit, match="none of the labels known"):
        read(reader(label="s"), {"s": [label]}, 1)


def test_a_function_in_a_path_that_does_not_take_what_is_there():
    with pytest.raises(Misfit, match="nothing stands at"):
        read(reader(scores="sort(s)"), {"s": {"a": 1}}, 1)
