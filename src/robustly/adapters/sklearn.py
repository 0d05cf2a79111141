"""Models of scikit-learn: any fitted classifier or pipeline that ends in one, on texts or on rows of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustly.adapters.digests import callable_digest
from robustly.adapters.trees import grown
from robustly.core.errors import UsageError
from robustly.core.rows import Batch
from robustly.oracle.model import Access, Model
from robustly.threats.base import Domain

CHUNK = 4096
LEAST = 1e-30
"""Probabilities below are read as this: the logarithm of zero would count as an answer that is not finite."""


def from_sklearn(estimator: Any, labels: Sequence[str] | None = None, *, domain: Domain = Domain()) -> Model:  # noqa: B008
    """A model from a fitted classifier.

    estimator: anything with the methods of a scikit-learn classifier. Its scores are its decision function (of two
        classes: minus and plus half of it), else the logarithm of its probabilities, in float64; if it has neither, or
        they don't decide what it predicts, only its labels can be asked.
    labels: names of the classes in the order of `estimator.classes_`, which become 0..K-1; without, their own.
    domain: the range of the inputs, where they are numbers. A tensor (B, ...) reaches the estimator as float64 (B, n).

    Raises:
        UsageError: not a classifier, not fitted, several outputs, fewer than two classes, a wrong number of labels.
    """
    classes = _classes(estimator)
    if labels is not None and len(labels) != len(classes):
        raise UsageError(f"{len(labels)} labels for {len(classes)} classes ({_some(classes)}): give one name a class.")
    name = type(_last(estimator)).__name__
    trees = grown(estimator)
    answer, access, note = _answer(estimator, classes) if trees.scores is None else _raw(trees.scores)
    digest, doubt = _digest(estimator)
    return Model(
        call=lambda z: torch.from_numpy(answer(_rows(z))),
        domain=domain,
        access=access,
        classes=len(classes),
        chunk=CHUNK,
        name=name,
        digest=digest,
        labels=tuple(str(label) for label in (classes if labels is None else labels)),
        notes=(f"{name}: {note}.", *([f"{name}: {trees.note}."] if trees.note else []), *doubt),
        structure=trees.trees if access is Access.SCORES else None,
    )


def _classes(estimator: Any) -> np.ndarray:
    """The classes of a fitted classifier."""
    from sklearn.base import is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if isinstance(estimator, type) or not hasattr(estimator, "predict") or not is_classifier(estimator):
        what = f"the class {estimator.__name__}" if isinstance(estimator, type) else f"{type(estimator).__name__}"
        raise UsageError(f"from_sklearn needs a fitted classifier, got {what}. Only labels can be broken.")
    try:
        check_is_fitted(estimator)
        classes = estimator.classes_
    except (NotFittedError, AttributeError):
        raise UsageError(
            f"{type(estimator).__name__} is not fitted: call fit(texts, labels) first, or load the fitted one."
        ) from None
    if isinstance(classes, list) or np.ndim(classes) != 1:
        raise UsageError(f"{type(estimator).__name__} has several outputs; give one classifier an output.")
    if len(classes) < 2:
        raise UsageError(f"{type(estimator).__name__} knows only the class {_some(classes)}: fit it on two or more.")
    return np.asarray(classes)


def _answer(estimator: Any, classes: np.ndarray) -> tuple[Callable[[Any], np.ndarray], Access, str]:
    """How to ask the estimator, the access that gives, and a clause about it."""
    if why := _undecided_by_scores(_last(estimator), len(classes)):
        return _labels(estimator, classes), Access.LABELS, f"labels only, as {why}"
    if hasattr(estimator, "decision_function"):
        return _decision(estimator), Access.SCORES, "scores are its decision function"
    if hasattr(estimator, "predict_proba"):
        return _logarithm(estimator), Access.SCORES, "scores are logarithms of its probabilities"
    return _labels(estimator, classes), Access.LABELS, "labels only, as it gives neither scores nor probabilities"


def _undecided_by_scores(last: Any, classes: int) -> str:
    """Why its highest score is not always what it predicts, if so: evidence would then be about another model."""
    from sklearn.svm import SVC, NuSVC

    if hasattr(last, "best_threshold_") or type(last).__name__ == "FixedThresholdClassifier":
        return "its threshold decides, not its scores"
    voting = isinstance(last, SVC | NuSVC) and classes > 2
    if voting and not (last.break_ties and last.decision_function_shape == "ovr"):
        return "votes decide; for scores fit it with break_ties=True and decision_function_shape='ovr'"
    return ""


def _raw(scores: Callable[[Any], np.ndarray]) -> tuple[Callable[[Any], np.ndarray], Access, str]:
    """The raw scores of boosted trees."""

    def both(x: Any) -> np.ndarray:
        value = scores(x)
        return np.stack((-value / 2, value / 2), 1) if value.ndim == 1 else value

    return both, Access.SCORES, "scores are its raw ones, before the softmax"


def _labels(estimator: Any, classes: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Positions in `classes` of what is predicted."""
    order = np.argsort(classes)
    return lambda x: order[np.searchsorted(classes, estimator.predict(x), sorter=order)].astype(np.int64)


def _decision(estimator: Any) -> Callable[[Any], np.ndarray]:
    """The decision function as scores (B, K); where there are two classes it has one value a row."""

    def scores(x: Any) -> np.ndarray:
        value = np.asarray(estimator.decision_function(x), dtype=np.float64)
        return np.stack((-value / 2, value / 2), 1) if value.ndim == 1 else value

    return scores


def _logarithm(estimator: Any) -> Callable[[Any], np.ndarray]:
    """Logarithms of probabilities (B, K); np.maximum lets NaN through."""
    return lambda x: np.log(np.maximum(np.asarray(estimator.predict_proba(x), dtype=np.float64), LEAST))


def _last(estimator: Any) -> Any:
    """The classifier at the end of a pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _rows(z: Batch) -> Any:
    """Texts as a list, a tensor (B, ...) as float64 (B, n)."""
    return z.detach().cpu().double().flatten(1).numpy() if isinstance(z, Tensor) else list(z)


def _digest(estimator: Any) -> tuple[str, tuple[str, ...]]:
    """A hash of the estimator's parameters and learnt state, and what is to be said about it."""
    from joblib.hashing import NumpyHasher

    class Hasher(NumpyHasher):
        def save(self, obj: Any) -> None:
            if type(obj) is dict:  # vectorisers keep a memory address, which is another in every process
                obj = {key: value for key, value in obj.items() if key != "_stop_words_id"}
            super().save(obj)

    try:
        return str(Hasher(hash_name="sha1").hash(estimator)), ()
    except Exception:  # a lambda or an open file inside, in many guises
        digest, note = callable_digest(estimator.predict)
        return digest, (f"the estimator cannot be serialised: {note}.",)


def _some(classes: Any) -> str:
    shown = ", ".join(str(c) for c in list(classes)[:5])
    return shown + (", ..." if len(classes) > 5 else "")
