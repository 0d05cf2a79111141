"""What is being audited: the model, the examples, the threat, and the randomness, in one frozen value."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from torch import Tensor

from robustly.core import keys
from robustly.core.rows import Batch, take
from robustly.goals import Goal
from robustly.oracle import Model
from robustly.threats import Threat, with_eps
from robustly.threats.base import PerturbationSet


@dataclass(frozen=True)
class Problem:
    """x: N inputs. y: int64 (N,). ids: N content hashes. search: the model attacks run on (a fast twin, or the model)."""

    model: Model
    search: Model
    x: Batch
    y: Tensor
    ids: tuple[str, ...]
    threat: Threat
    seed: int
    random: bool = False

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
