"""What a model may answer, and what to write where it answers something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustly.core.errors import UsageError
from robustly.core.rows import Batch

TWO_COLUMNS = "lambda x: (lambda z: torch.stack((torch.zeros_like(z), z), 1))(model(x).flatten())"


@dataclass(frozen=True)
class Call:
    """`raw` is the user's own callable; `read` makes scores (B, K), or labels (B,), of its answer and the row count."""

    raw: Callable[[Batch], Any]
    read: Callable[[Any, int], Tensor]

    def __call__(self, z: Batch) -> Tensor:
        """Scores or labels of a batch."""
        return self.read(self.raw(z), len(z))


def scores_of(answer: Any, count: int) -> Tensor:
    """Scores (B, K) of an answer to `count` inputs: float32, or float64 where the model computes in it.

    Takes a tensor, a numpy array, or an object with `.logits`.

    Raises:
        UsageError: anything else, another shape, or one class only; says what to write.
    """
    scores = _tensor_of(answer)
    if scores.dim() == 2 and scores.shape[0] == count and scores.shape[1] >= 2:
        return scores if scores.dtype in (torch.float32, torch.float64) else scores.to(torch.float32)
    raise UsageError(_what_is_wrong(scores, count))


def labels_of(answer: Any, count: int) -> Tensor:
    """Labels int64 (B,) of an answer that has them, or the best class of scores (B, K).

    A label or a row of scores that is not finite, or whose best is tied, gets -1, which is no class: it counts against
    the model.

    Raises:
        UsageError: neither labels nor scores.
    """
    found = _tensor_of(answer)
    if found.dim() == 1 and len(found) == count:
        if found.is_floating_point():
            found = torch.where(torch.isfinite(found), found, -1)
        if found.is_floating_point() and not bool((found == found.round()).all()):
            raise UsageError(
                f"labels are whole numbers, the model answered {found[0].item():g} for the first input. "
                'Return the index of the class, or declare access="scores" and return scores (B, K).'
            )
        return found.long()
    scores = scores_of(found, count)
    best, label = scores.max(1)
    sure = torch.isfinite(scores).all(1) & ((scores == best[:, None]).sum(1) == 1)
    return torch.where(sure, label, -1)


def picked(answer: Any) -> str | None:
    """A sentence for the record where something was picked out of the answer."""
    if not isinstance(answer, (Tensor, np.ndarray)) and _logits(answer) is not None:
        return f"the model answers a {type(answer).__name__}; its .logits are taken as scores"
    return None


def _logits(answer: Any) -> Any:
    found = getattr(answer, "logits", None)
    return found if isinstance(found, (Tensor, np.ndarray)) else None


def _tensor_of(answer: Any) -> Tensor:
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, np.ndarray) and answer.dtype.kind in "fiub":
        return torch.from_numpy(answer)
    logits = _logits(answer)
    if logits is not None:
        return _tensor_of(logits)
    if isinstance(answer, Mapping):
        keys = [str(key) for key in answer]
        pick = next((k for k in keys if "logit" in k.lower()), keys[0] if keys else "logits")
        raise UsageError(
            f"the model answers a {type(answer).__name__} with the keys {', '.join(keys) or '(none)'}; scores (B, K) "
            "are "
            f'wanted. Pick them: lambda x: model(x)["{pick}"].'
        )
    if isinstance(answer, (tuple, list)):
        raise UsageError(
            f"the model answers a {type(answer).__name__} of {len(answer)}; one tensor of scores (B, K) is wanted. "
            "Pick it: lambda x: model(x)[0]."
        )
    raise UsageError(f"the model answers a {type(answer).__name__}; a tensor of scores (B, K) is wanted.")


def _what_is_wrong(scores: Tensor, count: int) -> str:
    shape = tuple(scores.shape)
    start = (
        f"the model answers the shape {shape} for {count} input{'s' * (count != 1)}; scores (B, K) are wanted, here "
    )
    if shape == (count,) and not scores.is_floating_point():
        return (
            f"the model answers whole numbers of shape {shape}, which look like labels. "
            'Declare access="labels" (--access labels), or return the scores before argmax.'
        )
    if shape in ((count,), (count, 1)):
        return (
            f"the model answers one score an input (shape {shape}), so there is 1 class and nothing to confuse. "
            f"A single logit z makes two columns: {TWO_COLUMNS}."
        )
    if len(shape) > 2 and shape[0] == count and scores[0].numel() == max(shape[1:]):
        return f"{start}({count}, {max(shape[1:])}). Drop the other axes: lambda x: model(x).flatten(1)."
    if len(shape) > 2 and shape[0] == count:
        return f"{start}({count}, K). One score a pixel or token is no classifier: reduce it first, say .mean((2, 3))."
    return f"{start}({count}, K): one row of scores for each input."
