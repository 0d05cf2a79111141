"""A model from whatever the user has: a word on the command line, a module, a callable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from robustly.adapters.callables import from_callable
from robustly.adapters.digests import callable_digest
from robustly.adapters.endpoint import endpoint, is_address
from robustly.adapters.modules import from_module, wanted_device
from robustly.adapters.outputs import Call, labels_of
from robustly.adapters.ranges import with_range
from robustly.adapters.weights import load_weights
from robustly.core.errors import UsageError, nearest
from robustly.oracle.model import Access, Model
from robustly.threats.base import Domain

FORMS = "zoo:NAME, file.py:function, a TorchScript file (.pt), a torch.export file (.pt2) or an ONNX file (.onnx)"
PREPARED = "eps is in input units, before any normalisation, which must be part of the model"


def load_model(
    source: str | nn.Module | Model | Callable[..., Any],
    *,
    weights: Path | str | None = None,
    range: tuple[float, float] | None = None,
    access: str | None = None,
    classes: int | None = None,
    device: str | None = None,
    trust_pickle: bool = False,
) -> Model:
    """A `Model` of a word, an `nn.Module`, a callable (inputs to scores (B, K)) or a `Model`.

    source: see `FORMS`. weights: a .safetensors file (or .pt, without code) loaded strictly into the module that
    file.py:function makes. range: lowest and highest input value, before any normalisation; None keeps what the model
    declares. A `Model` without a digest gets that of its call. access: the most an attacker is granted: "gradients", "scores" or "labels". classes: K. device: where to compute; None is where the
    module lies. trust_pickle: run code from files that need it. A module given from Python is used as it is, and never
    changed.

    Raises:
        UsageError: nothing there, damaged, in training mode, or in need of code that isn't trusted; says what to write.
    """
    if weights is not None and not (isinstance(source, nn.Module) or (isinstance(source, str) and ".py" in source)):
        raise UsageError(
            "weights are loaded into what file.py:function makes; this model carries its own. Leave --weights out."
        )
    if weights is not None and isinstance(source, nn.Module):
        raise UsageError(
            "a module given from Python keeps its weights: write model.load_state_dict(...) before the audit."
        )
    model = _of(source, None if weights is None else Path(weights), device, trust_pickle)
    return _declared(_with_digest(model), range, access, classes)


def _of(source: Any, weights: Path | None, device: str | None, trust_pickle: bool) -> Model:
    if isinstance(source, Model):
        return source
    if isinstance(source, nn.Module):
        return from_module(source, device=device)
    if isinstance(source, Path):
        source = str(source)
    if isinstance(source, str):
        return _of_word(source, weights, device, trust_pickle)
    if callable(source):
        return from_callable(source, device=device)
    if hasattr(source, "predict"):
        return _of_estimator(source)
    raise UsageError(f"cannot make a model of a {type(source).__name__}. Give {FORMS}, an nn.Module or a callable.")


def _of_word(word: str, weights: Path | None, device: str | None, trust_pickle: bool) -> Model:
    from robustly.adapters.archives import SUFFIXES, from_archive
    from robustly.adapters.pyfiles import is_python, made_by

    if is_address(word):
        return endpoint(url=word)
    if word.startswith("zoo:"):
        return _of_zoo(word.removeprefix("zoo:"), device)
    if is_python(word):
        return _of_made(word, made_by(word), weights, device, trust_pickle)
    if word.endswith(".onnx"):
        from robustly.adapters.onnx import from_onnx

        return from_onnx(Path(word), device)
    if word.endswith(SUFFIXES):
        return from_archive(Path(word), trust_pickle, device)
    if word.endswith(".safetensors"):
        raise UsageError(
            f"{word} holds weights only. Write a function that builds the network: model.py:make --weights {word}."
        )
    from robustly import zoo

    hint = (
        f" Did you mean zoo:{word}?" if word in zoo.names() else nearest(word, [f"zoo:{name}" for name in zoo.names()])
    )
    raise UsageError(f'cannot tell what kind of model "{word}" is. Write {FORMS}.{hint}')


def _of_zoo(name: str, device: str | None) -> Model:
    from robustly import zoo
    from robustly.zoo.load import network

    module, entry = network(name), zoo.describe(name)
    if device:
        module = module.to(wanted_device(device))
    model = from_module(module, name=name)
    return replace(model, domain=Domain(*entry.domain), classes=len(entry.classes), labels=entry.classes)


def _of_made(word: str, made: Any, weights: Path | None, device: str | None, trust_pickle: bool) -> Model:
    """A model of what the user's function returned; a module made there is ours to fill and move."""
    name = word.rpartition("/")[2]
    if not isinstance(made, nn.Module):
        if weights is not None:
            raise UsageError(f"{word} returns a {type(made).__name__}, which takes no --weights. Return the nn.Module.")
        if isinstance(made, Model):
            return made
        if hasattr(made, "predict") and not callable(made):
            return _of_estimator(made)
        if not callable(made):
            raise UsageError(f"{word} returns a {type(made).__name__}. Return an nn.Module, a Model or a callable.")
        return from_callable(made, name, device)
    notes = () if weights is None else load_weights(made, weights, trust_pickle)
    model = from_module(made.to(wanted_device(device)) if device else made, name)
    return replace(model, notes=(*model.notes, *notes))


def _of_estimator(estimator: Any) -> Model:
    from robustly.adapters.sklearn import from_sklearn

    return from_sklearn(estimator)


def _with_digest(model: Model) -> Model:
    if model.digest:
        return model
    digest, note = callable_digest(model.call)
    return replace(model, digest=digest, notes=(*model.notes, note))


def _declared(model: Model, range: tuple[float, float] | None, access: str | None, classes: int | None) -> Model:
    """The model with what the user declared about it."""
    if PREPARED not in model.notes:
        model = replace(model, notes=(*model.notes, PREPARED))
    if range is not None:
        model = with_range(model, domain_of(range), "declared")
    if classes is not None:
        if classes < 2:
            raise UsageError(f"classes={classes}: a classifier has at least 2 classes, or there is nothing to confuse.")
        if model.classes not in (None, classes):
            raise UsageError(f"classes={classes} declared, but the model {model.name} has {model.classes}.")
        model = replace(model, classes=classes)
    return model if access is None else _granted(model, access)


def _granted(model: Model, word: str) -> Model:
    if word.upper() not in Access.__members__:
        raise UsageError(f'unknown access "{word}".{nearest(word, [a.name.lower() for a in Access])}')
    access = Access[word.upper()]
    if access > model.access:
        raise UsageError(
            f'access="{word}" asked for, but the model {model.name} gives at most {model.access.name.lower()}: '
            f"{'; '.join(model.notes) or 'see how it was made'}."
        )
    if access is Access.LABELS < model.access:
        raw = model.call.raw if isinstance(model.call, Call) else model.call
        return replace(model, call=Call(raw, labels_of), module=None, access=access)
    return model.granting(access)


def domain_of(range: tuple[float, float]) -> Domain:
    """The domain of a declared range.

    Raises:
        UsageError: not two numbers in rising order.
    """
    try:
        low, high = (float(value) for value in range)
    except (TypeError, ValueError):
        raise UsageError(f"a range is two numbers, lowest and highest, say range=(0, 1); got {range!r}.") from None
    if math.isnan(low) or math.isnan(high) or not low < high:
        raise UsageError(f"a range is two numbers, the lower first, say range=(0, 1); got ({low:g}, {high:g}).")
    return Domain(low, high)
