"""The models and data that benchmarks attack: the carried networks, and those of the folder `shared` beside the project."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.peers import zoo_net
from robustly.adapters.models import load_model
from robustly.core.errors import UsageError
from robustly.oracle import Model

SHARED = Path(__file__).parents[2] / "shared" / "data"
LOADER = SHARED / "load.py"


@dataclass(frozen=True)
class Subject:
    """A network, its data and the radius it is attacked at. name: of the network. defended: was it trained to withstand it?
    block: how many examples AutoAttack is run on at a time (see bench/reference.py)."""

    name: str
    data: str
    norm: str
    eps: float
    defended: bool = True
    block: int = 1000

    @property
    def carried(self) -> bool:
        """Is it one of the package's own?"""
        return self.name.startswith("fashion_")

    @property
    def place(self) -> dict[str, str]:
        """Where another process finds the network: see `Job`."""
        return zoo_net(self.name) if self.carried else {"net": f"{LOADER}:model:{self.name}", "weights": ""}

    @property
    def word(self) -> str:
        """What it is called on the command line: the network, and the norm where that isn't linf."""
        return self.name if self.norm == "linf" else f"{self.name}:{self.norm}"

    @property
    def key(self) -> str:
        """A name for files."""
        return f"{self.name}-{self.norm}-{self.eps:.4g}"


SUBJECTS = (
    Subject("fashion_adversarial", "fashion_mnist", "linf", 0.1),
    Subject("kw_fashion_mnist", "fashion_mnist", "linf", 0.1),
    Subject("sdp_mnist_adv", "mnist", "linf", 0.3),
    Subject("sdp_cifar_adv", "cifar10", "linf", 2 / 255),
    Subject("trades_mnist", "mnist", "linf", 0.3),
    Subject("fashion_plain", "fashion_mnist", "linf", 0.1, defended=False),
    Subject("resnet20_cifar", "cifar10", "linf", 2 / 255, defended=False),
    Subject("fashion_adversarial", "fashion_mnist", "l2", 1.0, block=200),
    Subject("fashion_adversarial", "fashion_mnist", "l1", 4.0, block=200),
)


def subject(word: str) -> Subject:
    """A subject by what it is called on the command line.

    Raises:
        UsageError: there is none of that name.
    """
    for one in SUBJECTS:
        if one.word == word:
            return one
    raise UsageError(f"no subject {word}; there are {', '.join(s.word for s in SUBJECTS)}.")


def network_of(one: Subject) -> nn.Module:
    """The network, in evaluation mode and frozen: (B, ...) in [0, 1] to logits.

    Raises:
        FileNotFoundError: it lies in `shared`, and that is absent.
    """
    if one.carried:
        from robustly.zoo.load import network

        return network(one.name)
    return _shared().model(one.name).eval().requires_grad_(False)


def model_of(one: Subject) -> Model:
    """The same as a model that an oracle asks."""
    return load_model(network_of(one), range=(0.0, 1.0), classes=10)


def examples(one: Subject, count: int, skip: int = 0) -> tuple[Tensor, Tensor]:
    """The first `count` test examples after `skip`: x (count, C, H, W) in [0, 1] and y (count,).

    Raises:
        FileNotFoundError: the folder `shared` is absent.
    """
    x, y = _shared().data(one.data)
    return x[skip : skip + count], y[skip : skip + count]


@cache
def _shared() -> Any:
    if not LOADER.exists():
        raise FileNotFoundError(f"the models and data of this benchmark lie in {SHARED.parent.name}/, which is absent.")
    found = importlib.util.spec_from_file_location("shared_load", LOADER)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # a compiler looks a function's module up there
    found.loader.exec_module(module)
    return module
