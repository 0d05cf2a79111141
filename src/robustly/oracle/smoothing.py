"""A smoothed classifier: what most noisy copies of an input are called by its base model."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.oracle.model import Access, Model

CHUNK_NUMBERS = 2**20
"""Most input numbers in one call of the base model; with it the copies in a call depend on the shape alone."""
ROWS = 256
"""Most copies in one call."""
GRAIN = 2.0**-12
"""Noisy copies are rounded to multiples of about this share of sigma."""


class NoiseLike(Protocol):
    """What is needed of a noise here; see `steps.noises`."""

    @property
    def sigma(self) -> float:
        """Standard deviation of a coordinate."""
        ...

    def draw(self, key: Tensor, shape: Sequence[int]) -> Tensor:
        """Float64 (R, *shape)."""
        ...


@dataclass(frozen=True)
class Smoothing:
    """The smoothed classifier g(x) = the class c of largest P(base(x + noise) = c), and how it is asked.

    base: scores or labels of inputs in input units, also of ones beyond the domain: as in Cohen et al. 2019
    (arXiv:1902.02918) nothing is clipped. votes: noisy copies in one answer of the smoothed model.

    A noisy copy is x + noise in float64, rounded to a fixed grid of about sigma / 4096 and then to float32, and the base
    model with that rounding in front is what is smoothed. Noise added in float32 would leave traces of x in the last bits,
    for which certificates can be wrong (Voracek & Hein 2023, arXiv:2207.07209; Jin et al. 2022, arXiv:2205.10159).

    The draws for an input are a function of its content, of `seed` and of their purpose: they are the same alone and in any
    batch, and independent between purposes (choosing a class, certifying it, judging a counterexample).
    """

    base: Model
    noise: NoiseLike
    votes: int = 100
    seed: int = 0
    kind: ClassVar[str] = "votes"

    def counts(self, x: Tensor, purpose: str, stop: int, start: int = 0) -> Tensor:
        """Votes int64 (K + 1,) among the copies start..stop of one input x (...).

        Place 0 has those that are for no class, a tie or an answer that isn't finite, place k + 1 those for class k.
        """
        found = [self._tallied(self.base.ask(copies)) for copies in self._copies(x, purpose, start, stop)]
        return torch.stack(found).sum(0)

    def scores(self, z: Tensor) -> Tensor:
        """Share of the votes less 1 / K, float32 (B, K), for inputs (B, ...).

        Where the base model gives gradients, so does this: those of the mean softmax of the copies (Salman et al. 2019,
        arXiv:1906.04584).
        """
        return torch.stack([self._answer(row) for row in z])

    def _answer(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and x.requires_grad and self.base.access is Access.GRADIENTS):
            found = self.counts(x.detach(), "answer", self.votes)
            return _shares(found[1:], self.votes)
        soft, votes = [], []
        for copies in self._copies(x.detach(), "answer", 0, self.votes):
            scores = self.base.answer(copies + (x - x.detach()))
            clear = torch.isfinite(scores).all(1, keepdim=True)
            soft.append(torch.softmax(torch.where(clear, scores, 0.0), 1).sum(0))
            votes.append(self._tallied(scores.detach()))
        mean = torch.stack(soft).sum(0) / self.votes
        return _shares(torch.stack(votes).sum(0)[1:], self.votes) + (mean - mean.detach())

    def _tallied(self, answers: Tensor) -> Tensor:
        """Int64 (K + 1,) of scores (R, K), or of labels (R,)."""
        if self.base.access is Access.LABELS:
            return torch.bincount(answers.long().clamp_min(-1) + 1, minlength=(self.base.classes or 0) + 1)
        best = answers.topk(2, dim=1).values
        clear = torch.isfinite(answers).all(1) & (best[:, 0] > best[:, 1])
        return torch.bincount(torch.where(clear, answers.argmax(1), -1) + 1, minlength=answers.shape[1] + 1)

    def _copies(self, x: Tensor, purpose: str, start: int, stop: int) -> Iterator[Tensor]:
        """Noisy copies float32 (R, ...) of x (...), some at a time."""
        own = keys.fold(content_key(x, self.seed), zlib.crc32(purpose.encode()))
        drawn = keys.bits(own, 2 * stop)[0, 2 * start :].reshape(-1, 2)
        size = max(1, min(ROWS, CHUNK_NUMBERS // max(x.numel(), 1)))
        step = 2.0 ** math.floor(math.log2(self.noise.sigma)) * GRAIN
        for part in drawn.split(size):
            noisy = x.double() + self.noise.draw(part, x.shape)
            yield (noisy / step).round_().mul_(step).to(x.dtype)


def smoothing_of(model: Model) -> Smoothing | None:
    """The smoothing behind a model, if it is a smoothed one."""
    return model.structure if isinstance(model.structure, Smoothing) else None


def content_key(x: Tensor, seed: int) -> Tensor:
    """The random key (1, 2) of one input."""
    content = hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    return keys.from_ids(seed, [content], x.device)


def refuse_scale(model: Model) -> None:
    """Refuse noise that means nothing in the model's range, which is what a sigma in other units looks like.

    Raises:
        UsageError: sigma is below a 500th of the range, or above twice it; names the sigma that may have been meant.
    """
    smoothing, width = smoothing_of(model), model.domain.high - model.domain.low
    if smoothing is None or not math.isfinite(width) or width / 500 <= smoothing.noise.sigma <= 2 * width:
        return
    sigma = smoothing.noise.sigma
    meant = sigma * width if sigma < 1 else sigma / 255 * width
    raise UsageError(
        f"sigma {sigma:g} is in input units, before any normalisation, and inputs run over {model.domain}: it is "
        f"{sigma / width:.2g} of that range. For images in [0, 1] or [0, 255] read by this model as {model.domain}, the usual "
        f"sigma would here be {meant:g}."
    )


def _shares(found: Tensor, votes: int) -> Tensor:
    """Centred, so that nobody takes them for probabilities where logits are wanted."""
    return found.float() / votes - 1 / len(found)
