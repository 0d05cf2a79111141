"""Models that insist on one batch size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robustly.core.rows import slices


def in_parts(call: Callable[[Tensor], Tensor], size: int) -> Callable[[Tensor], Tensor]:
    """The same call for any number of rows: in parts of `size`, the last filled up with copies of its last row."""

    def asked(z: Tensor) -> Any:
        answers = []
        for part in slices(len(z), size):
            rows = z[part]
            short = size - len(rows)
            full = torch.cat((rows, rows[-1:].expand(short, *rows.shape[1:]))) if short else rows
            answers.append(call(full)[: len(rows)])
        return torch.cat(answers)

    return asked
