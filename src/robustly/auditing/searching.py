"""On which model a search runs: the user's own, or a fast twin where a short trial says that it pays."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from robustly.adapters.twin import EXACT, KINDS, fast_twin, foldable
from robustly.core.errors import RobustlyError
from robustly.oracle import Access, Model

AUTO, NONE = "auto", "none"
ENOUGH = 500
"""Examples below which a trial would cost more than a twin could save."""
NUMBERS = 2**18
"""Most input numbers in the batch that models are timed on."""
ROWS = 64
"""Most rows in it."""
ROUNDS = 3
"""Timings of each model, in turn; the median counts."""
PAYS = 0.8
"""A twin must take at most this share of the original's time."""
AGREES = 0.98
"""A twin must give at least this share of the rows the original's label."""


@dataclass(frozen=True)
class Trial:
    """What a trial found. twin: its kind, or None to search on the original. note: a sentence for the record.
    forward, backward: the passes it took, all models together. exact: the kind for stages that want the original's
    precision, or None for the original itself."""

    twin: str | None
    note: str
    forward: int = 0
    backward: int = 0
    exact: str | None = None


def tried(model: Model, x: Tensor, examples: int) -> Trial:
    """Time a gradient pass of the original and of each twin on a few inputs x, and choose the fastest that agrees.

    examples: of the audit; with few of them nothing is tried. The choice depends on the machine and its load, so a run
    remembers it.
    """
    if model.module is None or model.access < Access.GRADIENTS or examples < ENOUGH:
        return Trial(None, "")
    rows = max(1, min(ROWS, NUMBERS // max(x[0].numel(), 1), len(x)))
    z = x[:rows]
    kinds = [kind for kind in KINDS if kind != "folded" or foldable(model)]
    rivals = {kind: twin for kind in kinds if (twin := _working(model, kind, z)) is not None}
    own = model.ask(z).argmax(1)
    agrees = {kind: float((twin.ask(z).argmax(1) == own).double().mean()) for kind, twin in rivals.items()}
    everyone = {"": model, **rivals}
    seconds: dict[str, list[float]] = {kind: [] for kind in everyone}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for kind, one in everyone.items():
            seconds[kind].append(_timed(one, z))
    share = {kind: median(seconds[kind][1:]) / median(seconds[""][1:]) for kind in rivals}
    fit = {kind: s for kind, s in share.items() if s <= PAYS and agrees[kind] >= AGREES}
    best = min(fit, key=fit.__getitem__, default=None)
    exact = min((kind for kind in fit if kind in EXACT), key=fit.__getitem__, default=None)
    told = ", ".join(f"{kind} {share[kind]:.2f} of the time, {agrees[kind]:.0%} the same labels" for kind in rivals)
    chosen = f"searched on the {best} twin" if best else "searched on the model itself"
    chosen += f", the nearest on the {exact} twin" if exact and exact != best else ""
    asked = rows * (ROUNDS + 1) * len(everyone)
    note = f"{chosen}, after a trial on {rows} inputs ({told}); the judge always asks the model itself" if told else ""
    return Trial(best, note, asked + rows * len(everyone), asked, exact)


def _working(model: Model, kind: str, z: Tensor) -> Model | None:
    """The twin, if it can be made and answers."""
    try:
        twin = fast_twin(model, kind)
        _timed(twin, z[:1])
    except (RobustlyError, RuntimeError):  # a network that can't be copied, or an operation without bfloat16
        return None
    return twin


def _timed(model: Model, z: Tensor) -> float:
    """Seconds of one forward and backward pass of the batch."""
    begun = _now(model)
    point = z.detach().clone().requires_grad_()
    torch.autograd.grad(model.answer(point).float().sum(), point)
    return _now(model) - begun


def _now(model: Model) -> float:
    """The time once the device is done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
