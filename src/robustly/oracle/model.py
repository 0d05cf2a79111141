"""A model as everything else sees it: a callable with its input domain and the access it can give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from robustly.core.errors import ModelRaised, RobustlyError
from robustly.core.rows import Batch, cut, device_of, slices
from robustly.oracle.remote import Remote, Replies
from robustly.threats.base import Domain


class Access(IntEnum):
    """What an attacker is granted; each level includes those below it."""

    LABELS = 1
    SCORES = 2
    GRADIENTS = 3


class Structure(Protocol):
    """What a model is made of. kind: the word by which certifiers say in `needs` that they read it: "votes", "trees"."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class Model:
    """A plain callable with what must be declared about it.

    call: takes a batch (float32 (B, ...) in `domain`, or a tuple of B texts) and gives scores (B, K), or labels (B,)
        where access is LABELS. With GRADIENTS it must be differentiable by autograd.
    domain: the range of inputs before preparation (normalisation, tokenisation), which is part of `call`.
    access: the most an attacker can be granted.
    classes: K, where known.
    chunk: most rows in one call; 0 leaves it to `numbers`: most input numbers in one call, rounded to multiples of 16
        rows, of which at least one; 0 for no limit. On a CPU the activations of small chunks stay in its caches.
    name, digest: what the model is called, and a hash of its weights (or of what stands for them).
    module: the network behind `call`, for certifiers and fast twins; its inputs are those of `call`.
    notes: what was detected or declared, as sentences for the record.
    remote: the way to a model behind a wire; `call` then asks on nobody's account.
    structure: what certifiers for models of this kind read: the votes of a smoothed classifier, the trees of an ensemble.
    """

    call: Callable[[Any], Any]
    domain: Domain = field(default_factory=Domain)
    access: Access = Access.GRADIENTS
    classes: int | None = None
    chunk: int = 0
    numbers: int = 0
    name: str = "callable"
    digest: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    module: torch.nn.Module | None = None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remote: Remote | None = None
    structure: Structure | None = None

    def parts(self, x: Batch, count: int) -> list[slice]:
        """How `count` rows of inputs such as x are split into calls."""
        size = self.chunk
        if not size and self.numbers and isinstance(x, Tensor) and len(x):
            size = max(16, self.numbers // max(x[0].numel(), 1) // 16 * 16)
        return list(slices(count, size or max(count, 1)))

    def granting(self, access: Access) -> Model:
        """The same model with at most this access. Where that is labels it answers that of the largest score, and -1 where
        the largest is tied or a score isn't finite, which is no label and so never right."""
        if access >= self.access:
            return self
        if access > Access.LABELS:
            return replace(self, access=access)
        return replace(self, access=access, call=_labelled(self.call), module=None)

    def answer(self, z: Batch) -> Tensor:
        """What `call` says, with its graph if gradients are on. Uncounted: attacks go through an `Oracle`.

        Raises:
            ModelRaised: the model raised; out of memory comes through as it is.
        """
        with self.blamed():
            return self.call(z)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What is raised within is the model's doing: `ModelRaised`, but out of memory comes through as it is."""
        try:
            yield
        except (RobustlyError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            if "allocate memory" in str(error) or "out of memory" in str(error):
                raise MemoryError(str(error)) from error
            raise ModelRaised(f"{self.name} raised {type(error).__name__}: {str(error)[:500]}") from error

    def ask(self, z: Batch) -> Tensor:
        """Scores (B, K) without a graph, or labels (B,) where that is all the model gives. Uncounted."""
        with torch.no_grad():
            return self.answer(z).detach()

    def ask_all(self, z: Batch) -> Tensor:
        """The same for any number of rows, in as many calls as `parts` says."""
        return torch.cat([self.ask(cut(z, part)) for part in self.parts(z, len(z))])

    def replies(self, z: Batch, owners: Tensor, left: Tensor | None = None) -> Replies:
        """The same with what it cost, on the account of examples `owners` int64 (B,); only a remote leaves rows unanswered.
        left: int64 (B,), most that each row may cost a remote."""
        if self.remote is None:
            every = torch.ones(len(z), dtype=torch.bool, device=device_of(z))
            return Replies(self.ask_all(z), every, every.long())
        found = self.remote.ask(z, owners, left)
        return replace(found, answers=self.remote.named(found.answers)) if self.access == Access.LABELS else found


def _labelled(call: Callable[[Any], Any]) -> Callable[[Any], Tensor]:
    def labels(z: Any) -> Tensor:
        scores = call(z)
        best = scores.topk(2, dim=1).values
        clear = torch.isfinite(scores).all(1) & (best[:, 0] > best[:, 1])
        return torch.where(clear, scores.argmax(1), -1)

    return labels
