"""Randomised smoothing as a defence: from any model, one whose answers are votes over noisy copies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from robustly.adapters.digests import callable_digest, module_digest
from robustly.adapters.models import load_model
from robustly.core.errors import UsageError
from robustly.oracle.model import Access, Model
from robustly.oracle.smoothing import Smoothing, refuse_scale, smoothing_of
from robustly.steps.binomial import check_alpha, doubt
from robustly.steps.noises import Gaussian, Noise

VOTERS = 256
"""Noisy copies in one call of the smoothed model: as many of its inputs as that makes."""


def smooth(
    model: Any,
    sigma: float,
    *,
    noise: Callable[[float], Noise] = Gaussian,
    votes: int = 100,
    seed: int = 0,
    denoiser: Callable[[Tensor], Tensor] | None = None,
    range: tuple[float, float] | None = None,
    classes: int | None = None,
) -> Model:
    """The smoothed classifier of a model: it answers what most noisy copies of an input are called.

    model: anything `audit` takes; its labels suffice. It should have been trained with such noise, or be given a denoiser.
    sigma: standard deviation of the noise in every coordinate, in input units, before any normalisation. noise: `Gaussian`
        (certifies l2; Cohen et al. 2019, arXiv:1902.02918), `Laplace` or `Uniform` (l1; Yang et al. 2020, arXiv:2002.08118).
    votes: copies in one answer, which attacks see as scores (shares of the votes) and with gradients (Salman et al. 2019,
        arXiv:1906.04584). denoiser: from noisy inputs (B, ...) to inputs, before the model (Salman et al. 2020,
        arXiv:2003.01908). seed: of the noise. range: of inputs, if the model doesn't say. classes: K.

    As in the paper nothing is clipped to the range before the model. Every verdict and certificate is about the smoothed
    classifier; it says nothing of the model given.

    Raises:
        UsageError: a sigma in another scale than the range, fewer than 2 votes, a model behind an endpoint, labels only
            without `classes`.
    """
    base = load_model(model, range=range, classes=classes)
    if smoothing_of(base) is not None:
        raise UsageError(f"{base.name} is smoothed already: smooth the model that it was made of.")
    if base.remote is not None:
        raise UsageError("smoothing asks a model thousands of times an example, so no endpoint: smooth where it runs.")
    if not isinstance(votes, int) or votes < 2:
        raise UsageError(f"votes is a number of noisy copies, at least 2; got {votes!r}.")
    if base.access is Access.LABELS and base.classes is None:
        raise UsageError("a model of labels only doesn't tell how many classes there are: give classes=K.")
    made = noise(sigma)
    asked = base if denoiser is None else _denoised(base, denoiser)
    smoothing = Smoothing(asked, made, votes, seed)
    settings = f"{asked.digest} {made!r} {votes} {seed}"
    told = (
        (
            f"verdicts are about the smoothed model: {base.name} under {made.name} noise of sigma {made.sigma:g} in input units, "
            "added before any normalisation and not clipped to the range; the model itself has no certificate"
        ),
        f"a pass of the smoothed model is {votes} of {base.name}",
    )
    out = replace(
        asked,
        call=smoothing.scores,
        access=max(base.access, Access.SCORES),
        chunk=max(1, VOTERS // votes),
        numbers=0,
        name=f"smoothed {base.name} ({made})",
        digest=hashlib.sha256(settings.encode()).hexdigest(),
        module=None,
        notes=(*told, *base.notes),
        structure=smoothing,
    )
    refuse_scale(out)
    return out


def predict(model: Model, x: Tensor, *, n: int = 1000, alpha: float = 0.001) -> Tensor:
    """What the smoothed classifier says of inputs x (B, ...): labels int64 (B,), or -1 where it abstains.

    PREDICT of Cohen et al. 2019: of n votes the two top classes are told apart by an exact two-sided binomial test, so that
    a label which isn't that of the smoothed classifier is given with probability at most alpha.

    Raises:
        UsageError: the model isn't a smoothed one.
    """
    check_alpha(alpha)
    smoothing = smoothing_of(model)
    if smoothing is None:
        raise UsageError(f"{model.name} is no smoothed model: make one with robustly.smooth(model, sigma=...).")
    return torch.tensor([elected(smoothing.counts(row, "predict", n), alpha) for row in x], dtype=torch.int64)


def elected(counts: Tensor, alpha: float) -> int:
    """The label that votes int64 (K + 1,) are for, place 0 being no class; -1 where the test can't tell."""
    first, second = counts.topk(2).values.tolist() if len(counts) > 1 else (int(counts[0]), 0)
    return int(counts.argmax()) - 1 if doubt(first, second, "two-sided") <= alpha else -1


def _denoised(base: Model, denoiser: Callable[[Tensor], Tensor]) -> Model:
    """The model behind a denoiser."""
    training = isinstance(denoiser, nn.Module) and any(m.training for m in denoiser.modules())
    if training:
        raise UsageError("the denoiser is in training mode: call denoiser.eval() first.")
    digest = module_digest(denoiser) if isinstance(denoiser, nn.Module) else callable_digest(denoiser)[0]
    call = base.call

    def denoised(z: Tensor) -> Tensor:
        return call(denoiser(z))

    both = hashlib.sha256(f"{base.digest} after {digest}".encode()).hexdigest()
    return replace(base, call=denoised, digest=both, name=f"denoised {base.name}", module=None)
