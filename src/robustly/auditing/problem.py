"""What is being audited: the model, the examples, the threat, and the randomness, in one frozen value."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustly.adapters.data import Data
from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.core.rows import Batch, take
from robustly.goals import Goal
from robustly.oracle import Model, smoothing_of
from robustly.threats import Both, Grid, Threat, with_eps
from robustly.threats.ball import NormThreat
from robustly.threats.base import PerturbationSet


def one_size(threat: Threat, like: Batch) -> str:
    """A text that identifies a threat with one eps and one mask for all examples: its form, and a hash of the mask.

    like: inputs of the right shape.

    Raises:
        UsageError: eps or mask differ by example, which a run that carries verdicts between sizes cannot follow.
    """
    marks = []
    for part in _norms(threat):
        if isinstance(part.eps, Tensor) and part.eps.dim():
            raise UsageError("an audit takes one eps for all examples; robustly.attack takes one a row.")
        mask = part.mask
        if mask is not None and isinstance(like, Tensor):
            mask = torch.as_tensor(mask)
            if mask.dim() == like.dim() and len(mask) != 1:
                raise UsageError(
                    f"an audit takes one mask for all examples, got {tuple(mask.shape)}; drop its first axis."
                )
            marks.append(hashlib.sha256(mask.cpu().numpy().tobytes()).hexdigest()[:16])
    return " ".join([str(threat), *marks])


def turned(threat: Threat, data: Data) -> Threat:
    """The threat for inputs that were turned: a mask that was laid out as they were, (H, W, C) or (N, H, W, C), is turned too."""
    if isinstance(threat, Both):
        return replace(threat, first=turned(threat.first, data), second=turned(threat.second, data))
    if isinstance(threat, Grid):
        return replace(threat, threat=turned(threat.threat, data))
    if not data.turned or not isinstance(threat, NormThreat) or threat.mask is None:
        return threat
    mask = torch.as_tensor(threat.mask)
    channels, high, wide = data.shape
    if mask.dim() in (3, 4) and tuple(mask.shape[-3:]) == (high, wide, channels):
        return replace(threat, mask=mask.movedim(-1, -3))
    return threat


def _norms(threat: Threat) -> list[NormThreat]:
    if isinstance(threat, Both):
        return [*_norms(threat.first), *_norms(threat.second)]
    if isinstance(threat, Grid):
        return _norms(threat.threat)
    return [threat] if isinstance(threat, NormThreat) else []


@dataclass(frozen=True)
class Problem:
    """x: N inputs. y: int64 (N,). ids: N content hashes. search: the model attacks run on (a fast twin, or the model).
    exact: the one that stages run on which want the original's precision, a twin that has it; None for the model itself."""

    model: Model
    search: Model
    x: Batch
    y: Tensor
    ids: tuple[str, ...]
    threat: Threat
    seed: int
    random: bool = False
    exact: Model | None = None

    @property
    def lucky(self) -> bool:
        """May a search pick lucky draws, so that it should press on for clearer finds? Of random models and of voted ones."""
        return self.random or smoothing_of(self.model) is not None

    def around(self, index: Tensor, eps: float) -> PerturbationSet:
        """The sets around some examples at a size."""
        return with_eps(self.threat, eps).at(take(self.x, index), self.model.domain)

    def goal(self, index: Tensor) -> Goal:
        """The goal for some examples."""
        return Goal(self.y[index])

    def keys(self, index: Tensor, purpose: str) -> Tensor:
        """Random keys of some examples for a purpose, the same in any batch, plan position or process."""
        own = keys.from_ids(self.seed, [self.ids[i] for i in index.tolist()], self.y.device)
        return keys.fold(own, zlib.crc32(purpose.encode()))
