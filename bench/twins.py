"""What each fast twin takes of the original's time, and what a compiler would.

For each subject, processor seconds of a forward and backward pass of ROWS rows, alternating, the least of ROUNDS; how far
the twin's scores are from the original's at most; and the share of the rows that it gives the same label. `compiled` is the
folded network in torch.compile, if a compiler is there, with the seconds that compiling one batch size takes (the compiler's
processes included); `pays after` is the number of such passes after which it would have saved them over the folded twin.
"""

from __future__ import annotations

import copy
import resource
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.bars import Bar, Outcome
from bench.speed import clock
from bench.subjects import SUBJECTS, Subject, examples, model_of
from robustly.adapters.folding import folded
from robustly.adapters.twin import KINDS, fast_twin

ROWS, ROUNDS = 64, 7
COLUMNS = ("subject", "twin", "of the time", "scores apart", "same labels", "compile seconds", "pays after")


def run(limit: int = ROWS, subjects: Sequence[str] = (), slow: bool = False) -> Outcome:
    """The table; slow: compile too."""
    chosen = [s for s in SUBJECTS if (s.word in subjects if subjects else s.carried and s.norm == "linf")]
    rows = tuple(row for s in chosen for row in compared(s, limit, slow))
    best = {s.name: min(float(r[2]) for r in rows if r[0] == s.name and r[1] in KINDS) for s in chosen}
    bars = tuple(Bar(f"{name}: the quickest twin, of the original's time", 1.0, share) for name, share in best.items())
    return Outcome("twins", f"forward and backward of {limit} rows, one thread, processor seconds", COLUMNS, rows, bars)


def compared(one: Subject, count: int, slow: bool) -> list[tuple[Any, ...]]:
    """The lines of a subject."""
    x, _ = examples(one, count)
    model = model_of(one)
    rivals = {kind: fast_twin(model, kind).call for kind in KINDS}
    took = None
    if slow and (shutil.which("g++") or shutil.which("clang++")):
        assert model.module is not None
        rivals["compiled"] = torch.compile(folded(copy.deepcopy(model.module)).requires_grad_(False), dynamic=False)
        took = _compiling(rivals["compiled"], x)
    seconds = {kind: [] for kind in ("", *rivals)}
    for _ in range(ROUNDS):
        for kind, call in (("", model.call), *rivals.items()):
            begun = clock()
            passed(call, x)
            seconds[kind].append(clock() - begun)
    least = {kind: min(times) for kind, times in seconds.items()}
    own = model.ask(x)
    out = []
    for kind, call in rivals.items():
        with torch.no_grad():
            scores = call(x)
        saved = least["folded"] - least[kind]
        pays = round(took / saved) if took is not None and kind == "compiled" and saved > 0 else None
        same = float((scores.argmax(1) == own.argmax(1)).double().mean())
        apart = f"{float((scores - own).abs().max()):.1e}"
        out.append((one.name, kind, least[kind] / least[""], apart, same, took if kind == "compiled" else None, pays))
    return out


def passed(call: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """A forward and a backward pass."""
    z = x.clone().requires_grad_()
    torch.autograd.grad(call(z).sum(), z)


def _compiling(call: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Processor seconds of the first pass over those of the second, this process and its children."""
    times = []
    for _ in range(2):
        before = _spent()
        passed(call, x)
        times.append(_spent() - before)
    return times[0] - times[1]


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
