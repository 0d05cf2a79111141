"""The proofs that are tried on what the search leaves open, cheapest first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from robustly.certify.boxes import boxes
from robustly.certify.lines import lines, sensitive_lines
from robustly.certify.questions import Bounder, Questions

Over: TypeAlias = Callable[[], bool]
Make: TypeAlias = Callable[[nn.Module, int], Bounder]
"""Bounds of a network with so many inputs."""

Complete: TypeAlias = Callable[[nn.Module, Questions, Over], Tensor]
"""A complete search of its own: which questions (Q,) it proves before the time is over."""


@dataclass(frozen=True)
class Proofs:
    """bounds: named makers of bounds, cheapest first; each is tried once on what is open. splitting: the one that branch and bound
    on the inputs uses, and `inputs` the most inputs it is used for. complete: what is used for larger networks, by name."""

    bounds: tuple[tuple[str, Make], ...]
    splitting: tuple[str, Make]
    inputs: int = 50
    complete: tuple[tuple[str, Complete], ...] = ()


def standard() -> Proofs:
    """What `verify` uses."""
    return Proofs(bounds=(("interval", boxes), ("CROWN", lines)), splitting=("CROWN", sensitive_lines))


def in_parts(bound: Bounder, questions: Questions, size: int) -> tuple[Tensor, Tensor]:
    """The best row of each question (Q,), and all rows (Q, R), some questions at a time."""
    parts = [bound(questions.take(i)).least for i in torch.arange(len(questions)).split(size)]
    least = torch.cat(parts) if parts else questions.offsets[:, :0]
    return least.amax(1), least
