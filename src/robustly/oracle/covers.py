"""Classifiers that see an image with parts of it covered: by masks that could hide a patch, or all but a band of columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustly.oracle.model import Access, Model

CHUNK_NUMBERS = 2**22
"""Most input numbers in one call of the base model."""
ROWS = 64
"""Most covered copies in one call."""
UNSURE = 1e-5
"""A label whose margin is below this share of the largest score may change with the batch, and certifies nothing. (Scores of a
residual network of 20 layers differ by 1.5e-7 of the largest between batches of 1 and 64 on a CPU.)"""


@dataclass(frozen=True)
class Masking:
    """PatchCleanser's two rounds of masks (Xiang et al. 2022, arXiv:2108.09135).

    patch: the side in pixels of the patches that are guarded against. masks: along each axis. fill: what covers pixels.
    """

    base: Model
    patch: int
    masks: int
    fill: float
    kind: ClassVar[str] = "masks"

    def hidden(self, height: int, width: int) -> Tensor:
        """Bool (M, H, W): masks of which one covers whatever square of `patch` pixels there is (their section 3.2)."""
        down, across = (_covers(size, self.patch, self.masks) for size in (height, width))
        return (down[:, None, :, None] & across[None, :, None, :]).flatten(0, 1)

    def labels(self, z: Tensor) -> Tensor:
        """Labels int64 (B,) of images (B, C, H, W), by double masking (their algorithm 1)."""
        return torch.stack([self._label(image) for image in z])

    def _label(self, image: Tensor) -> Tensor:
        masks = self.hidden(*image.shape[1:])
        first = said(self.base, image, masks, self.fill)[0]
        most = first.mode().values
        for i in (first != most).nonzero().flatten().tolist():
            again = said(self.base, image, masks | masks[i], self.fill)[0]
            if (again == first[i]).all():
                return first[i]
        return most


@dataclass(frozen=True)
class Bands:
    """De-randomised smoothing by columns (Levine & Feizi 2020, arXiv:2002.10733): one vote for each band of `width` columns,
    around the edges too, all else covered by `fill`."""

    base: Model
    width: int
    fill: float
    kind: ClassVar[str] = "bands"

    def hidden(self, height: int, width: int) -> Tensor:
        """Bool (W, H, W): what each band leaves covered."""
        places = torch.arange(width)
        open_ = (places[None] - places[:, None]) % width < self.width
        return ~open_[:, None, :].expand(width, height, width)

    def votes(self, z: Tensor) -> Tensor:
        """Votes float32 (B, K) of images (B, C, H, W); with gradients those of the summed softmax, where the base has them."""
        return torch.stack([self._votes(image) for image in z])

    def _votes(self, image: Tensor) -> Tensor:
        hidden, count = self.hidden(*image.shape[1:]), 0
        soft = None
        for copies in covered(image, hidden, self.fill):
            scores = self.base.answer(copies)
            clear = torch.isfinite(scores).all(1, keepdim=True)
            finite = torch.where(clear, scores, 0.0)
            count = count + torch.where(clear, torch.nn.functional.one_hot(scores.argmax(1), scores.shape[1]), 0).sum(0)
            soft = torch.softmax(finite, 1).sum(0) + (0 if soft is None else soft)
        assert isinstance(count, Tensor)
        assert soft is not None
        return count.float() + (soft - soft.detach())


def covered(image: Tensor, hidden: Tensor, fill: float) -> Iterator[Tensor]:
    """Copies of an image (C, H, W), covered where `hidden` (M, H, W) is True; some at a time, by the shape alone."""
    size = max(1, min(ROWS, CHUNK_NUMBERS // max(image.numel(), 1)))
    for part in hidden.to(image.device).split(size):
        yield torch.where(part[:, None], fill, image)


def said(base: Model, image: Tensor, hidden: Tensor, fill: float) -> tuple[Tensor, Tensor]:
    """Labels int64 (M,) of the covered copies, -1 for a tie or an answer that isn't finite, and which are clear: bool (M,)."""
    labels, clear = [], []
    for copies in covered(image, hidden, fill):
        answer = base.ask(copies)
        if base.access is Access.LABELS:
            labels.append(answer.long())
            clear.append(answer >= 0)
            continue
        best = answer.topk(2, dim=1).values
        finite, gap = torch.isfinite(answer).all(1), best[:, 0] - best[:, 1]
        labels.append(torch.where(finite & (gap > 0), answer.argmax(1), -1))
        clear.append(finite & (gap > UNSURE * answer.abs().amax(1)))
    return torch.cat(labels), torch.cat(clear)


def _covers(size: int, patch: int, masks: int) -> Tensor:
    """Bool (k, size): intervals of which one holds any `patch` neighbours. The k starts are a stride s apart, and each is
    patch + s - 1 long."""
    stride = -(-(size - patch + 1) // masks)
    long = patch + stride - 1
    starts = torch.tensor(sorted({*range(0, size - long + 1, stride), size - long}))
    places = torch.arange(size)
    return (places >= starts[:, None]) & (places < starts[:, None] + long)
