"""A tiny model and its data as files, and the command line called in-process."""

from __future__ import annotations

import textwrap
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

from robustly import Access, Model


def log(rows):
    if "ROWS" in os.environ:
        with open(os.environ["ROWS"], "a") as file:
            file.write("x" * rows)


class Net(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.linear = nn.Linear(6, 3, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(gain * torch.eye(3).repeat(1, 2))

    def forward(self, z):
        log(len(z))
        time.sleep(float(os.environ.get("SLOW", "0")))
        return self.linear(z)


def build():
    return Net(4.0).eval()


def other():
    net = Net(4.0)
    with torch.no_grad():
        net.linear.weight.copy_(net.linear.weight.flip(0))
    return net.eval()


def training():
    return Net(4.0)


def weightless():
    net = build()
    return lambda z: net(z)


def nan():
    net = build()
    return lambda z: net(z) * float("nan")


def leaving():
    raise SystemExit(7)


def stubborn():
    def call(z):
        try:
            if os.environ.get("STUCK"):
                print("asked", flush=True)
                time.sleep(60)
        except BaseException:
            time.sleep(60)
        return build()(z)

    return call
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
    """The working folder, with net.py and data.npz in it."""
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path) -> None:
    """net.py and data.npz: example i is 0.075 + 0.01 i from the boundary in linf, for scores are sums of two numbers."""
    (folder / "net.py").write_text(textwrap.dedent(NET))
    x = np.random.default_rng(0).uniform(0.2, 0.3, (24, 6)).astype(np.float32)
    y = np.arange(24) % 3
    x[0, 2] = 0.0
    for row, distance in enumerate(0.075 + 0.01 * np.arange(24)):
        rest = max(x[row, k] + x[row, k + 3] for k in range(3) if k != y[row])
        x[row, [y[row], y[row] + 3]] = rest / 2 + 2 * distance
    np.savez(folder / "data.npz", x=x, y=y)


AUDIT = ("audit", "net.py:build", "data.npz", "--threat")
