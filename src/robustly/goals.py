"""What counts as adversarial."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Goal:
    """Untargeted: any label but `y`. Targeted: the label `target`.

    y: int64 (B,), the true labels. target: int64 (B,) or None.

    A tie counts against the model, and so does an answer that is not finite: both are met. A model that answers NaN
    would otherwise look perfectly robust wherever argmax(NaN) happens to be the true label.
    """

    y: Tensor
    target: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def margin(self, scores: Tensor) -> Tensor:
        """How far the scores (B, K) are from the goal, (B,): the goal is met unless this is > 0; NaN is met too.

        Untargeted z_y - max_{k != y} z_k; targeted max_{k != t} z_k - z_t.
        """
        if self.target is None:
            return _gap(scores, self.y)
        return -_gap(scores, self.target)

    def met(self, scores: Tensor) -> Tensor:
        """Bool (B,): true where the scores (B, K) meet the goal, are tied, or are not all finite."""
        return ~(self.margin(scores) > 0) | ~torch.isfinite(scores).all(1)

    def met_by_labels(self, labels: Tensor) -> Tensor:
        """Bool (B,): true where the labels (B,) meet the goal."""
        return labels != self.y if self.target is None else labels == self.target

    def take(self, index: Tensor | slice) -> Goal:
        """The goal of some rows."""
        return Goal(self.y[index], None if self.target is None else self.target[index])

    def toward(self, target: Tensor) -> Goal:
        """The same examples, each pushed to a label of `target` (B,)."""
        return replace(self, target=target)


def _gap(scores: Tensor, label: Tensor) -> Tensor:
    """z_label - max of the others, (B,)."""
    chosen = scores.gather(1, label[:, None]).squeeze(1)
    others = scores.scatter(1, label[:, None], float("-inf"))
    return chosen - others.amax(1)
