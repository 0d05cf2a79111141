"""A small network behind a real socket."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robustly.adapters.models import load_model
from robustly.oracle.model import Model
from robustly.serving.running import served
from robustly.serving.settings import Serving

SHAPE = (3, 2, 4)


@pytest.fixture
def model() -> Model:
    """Images (B, 3, 2, 4) in [0, 1] to four scores."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 4)).eval().requires_grad_(False)
    return replace(load_model(net, range=(0.0, 1.0), classes=4), labels=("ant", "bee", "cat", "dog"), name="small")


@pytest.fixture
def x() -> torch.Tensor:
    """Five images."""
    return torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def client(model):
    """Serve the small model with these settings while a block runs: yields a client of it."""

    @contextmanager
    def call(**settings: Any) -> Iterator[Any]:
        with (
            served(Serving(settings.pop("model", model), **{"shape": SHAPE, **settings})) as url,
            httpx2.Client(base_url=url, trust_env=False, timeout=20) as made,
        ):
            yield made

    return call


def npy(row: torch.Tensor | np.ndarray) -> bytes:
    """The bytes of an npy file."""
    file = io.BytesIO()
    np.save(file, np.asarray(row), allow_pickle=True)
    return file.getvalue()


def png(row: torch.Tensor) -> bytes:
    """The bytes of a PNG of an image (C, H, W) in [0, 1]."""
    whole = (row * 255).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(whole[0] if len(whole) == 1 else whole.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def b64(content: bytes) -> str:
    """Base64 as JSON carries it."""
    return base64.b64encode(content).decode()
