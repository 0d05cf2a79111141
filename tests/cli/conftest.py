"""A tiny model and its data as files, and the command line called in-process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from robustly.cli.app import main

NET = """
import os
import time

import torch
from torch import nn


def build():
    net = nn.Linear(6, 3, bias=False)
    with torch.no_grad():
        net.weight.copy_(4 * torch.eye(3).repeat(1, 2))
    return net.eval()


def other():
    net = build()
    net.weight.data = net.weight.data.flip(0)
    return net


def sure():
    net = build()
    net.weight.data[1] += 9
    return net


def training():
    return build().train()


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build()

    def forward(self, z):
        return counted()(z)


def module():
    return Counted().eval()


def counted():
    net = build()

    def call(z):
        if "ROWS" in os.environ:
            with open(os.environ["ROWS"], "a") as file:
                file.write("x" * len(z))
        time.sleep(float(os.environ.get("SLOW", "0")))
        return net(z)

    return call


def nan():
    net = build()
    return lambda z: net(z) * float("nan")


def leaving():
    raise SystemExit(7)


def stubborn():
    net = build()

    def call(z):
        try:
            if "STUCK" in os.environ:
                print("asked", flush=True)
                time.sleep(60)
        except BaseException:
            time.sleep(60)
        return net(z)

    return call
"""

PLAN = """
[[stage]]
attack = "pgd"
steps = 20
[[stage]]
attack = "noise"
tries = 3
"""


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capfd):
    """Call the command line in this process."""

    def call(*words: str) -> Said:
        capfd.readouterr()
        code = main(words)
        return Said(code, *capfd.readouterr())

    return call


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, with net.py, plan.toml and data.npz in it."""
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path) -> None:
    """net.py, plan.toml and data.npz: example i is 0.075 + 0.01 i from the boundary in linf, for scores are sums of two numbers."""
    (folder / "net.py").write_text(NET)
    (folder / "plan.toml").write_text(PLAN)
    x = np.random.default_rng(0).uniform(0.2, 0.3, (24, 6)).astype(np.float32)
    y = np.arange(24) % 3
    x[0, 2] = 0.0
    for row, distance in enumerate(0.075 + 0.01 * np.arange(24)):
        rest = max(x[row, k] + x[row, k + 3] for k in range(3) if k != y[row])
        x[row, [y[row], y[row] + 3]] = rest / 2 + 2 * distance
    np.savez(folder / "data.npz", x=x, y=y)


AUDIT = ("audit", "net.py:build", "data.npz", "--threat")
COUNTED = ("audit", "net.py:counted", "data.npz", "--plan", "plan.toml", "--threat")
