"""Endpoints that answer at once, and the settings to ask them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.adapters.endpoint.server import SIZE
from torch import Tensor

from robustly.adapters.endpoint.asking import Asking
from robustly.adapters.endpoint.settings import Settings


@pytest.fixture
def asking(tmp_path: Any) -> Any:
    """Makes askers and closes them: asking(url, keep=..., limits={...}, ...)."""
    made: list[Asking] = []

    def make(url: str, keep: Any = None, **tables: Any) -> Asking:
        limits = {"wait": 0.02, "timeout": 2.0, **tables.pop("limits", {})}
        made.append(Asking(Settings.model_validate({"url": url, "limits": limits, **tables}), keep))
        return made[-1]

    yield make
    for one in made:
        one.close()


def some(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, SIZE, generator=torch.Generator().manual_seed(seed))


def owners(count: int) -> Tensor:
    return torch.arange(count)


Make = Callable[..., Asking]
