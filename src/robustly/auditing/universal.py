"""One change for many inputs, judged: what `robustly.universal` does."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from robustly.adapters.border import check_scores, in_range
from robustly.adapters.data import load_data
from robustly.adapters.layout import LAST, as_given
from robustly.adapters.models import load_model
from robustly.attacks.universal import universal as search
from robustly.auditing.doubts import masked
from robustly.auditing.judge import judge
from robustly.auditing.problem import Problem, turned
from robustly.auditing.single import LOOKED_AT, LOOKS, look
from robustly.core.arguments import checked
from robustly.core.errors import SoundnessWarning, UsageError
from robustly.core.rows import device_of
from robustly.goals import Goal
from robustly.oracle import Access, Ledger, Oracle
from robustly.steps import Case
from robustly.threats import Threat, as_threat
from robustly.threats.base import Smooth


@dataclass(frozen=True)
class UniversalResult:
    """What one change does to B inputs.

    change: (...), of the shape of an input and within the threat's radius. x: (B, ...), the inputs with it, within their sets
    (and so within the range). read: bool (B,), the model reads the input as labelled without it. fooled: bool (B,), and errs
    with it, confirmed by the judge on the model itself. forward, backward: int64 (B,), passes spent on each example, the
    judge's included. warnings: what makes the result doubtful, as sentences; each was also given as a `SoundnessWarning`.
    """

    change: Tensor
    x: Tensor
    read: Tensor
    fooled: Tensor
    forward: Tensor
    backward: Tensor
    warnings: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """The share fooled of the inputs that were read as labelled."""
        return self.fooled.sum().item() / self.read.sum().item()

    def __repr__(self) -> str:
        cost = f"{int(self.forward.sum())} F + {int(self.backward.sum())} B"
        return (
            f"<UniversalResult: {int(self.fooled.sum())} of {int(self.read.sum())} fooled by one change "
            f"({100 * self.rate:.1f} %), {cost}>"
        )


def universal(
    model: Any,
    x: Any,
    y: Any,
    threat: Threat | str,
    *,
    times: int = 10,
    steps: int = 10,
    share: float = 0.8,
    overshoot: float = 0.02,
    seed: int = 0,
    range: tuple[float, float] | None = None,
    access: str | None = None,
    layout: str | None = None,
) -> UniversalResult:
    """Look for one change that fools a model on most of B inputs: universal(model, x, y, Linf(0.1)).

    Moosavi-Dezfooli et al. 2017, arXiv:1610.08401; see `robustly.attacks.universal`. Inputs that the model misreads as they
    are take no part. How a change does on inputs that it wasn't made from is seen by adding it to those: the rate here is
    that of the inputs given.

    model, x, y, range, access, layout: as `attack` takes them. threat: a linf, l2 or l1 ball, of one finite eps. times: rounds
    over the inputs, at most. steps: linearisations an input and round, at most. share: of the inputs, at which it is done.
    overshoot: how much farther than the linearised border each change goes, as a share of it. seed: of the order of inputs.

    Warns with `SoundnessWarning`, and says it in the result, where gradients were zero or not finite, scores are
    probabilities, or inputs were turned that nobody said are "hwc".

    Raises:
        UsageError: another set, several eps or an infinite one, an argument out of its range, a model without gradients or that
            misreads all inputs, or anything `audit` would refuse.
    """
    given = {"times": times, "steps": steps, "share": share, "overshoot": overshoot, "seed": seed}
    given = checked("universal", inspect.signature(universal), given)
    data = load_data((x, y), range=range, layout=layout)
    if not isinstance(data.x, Tensor):
        raise UsageError("universal adds one change to many inputs, which texts have none of: give numbers.")
    threat = turned(as_threat(threat), data)
    loaded = in_range(load_model(model, range=range, access=access), data)
    if loaded.access < Access.GRADIENTS:
        raise UsageError(
            f"universal needs gradients, and the model {loaded.name} grants {loaded.access.name.lower()} alone."
        )
    inputs = data.x.to(loaded.device)
    goal = Goal(data.y.to(device_of(inputs)))
    doubts = [note for note in data.notes if note.endswith(LAST)]
    answers = look(loaded, inputs, LOOKS)
    random = not torch.equal(*answers)
    loaded, told = check_scores(loaded, data, answers[0])
    around = threat.at(inputs, loaded.domain)
    read = ~goal.met(loaded.ask_all(inputs))
    rows = read.nonzero().squeeze(1)
    if not len(rows):
        raise UsageError("the model misreads each of the inputs as it is: there is none to fool.")
    ledger = Ledger(inputs[rows], rows.device)
    some, aim = around.take(rows), goal.take(rows)
    oracle = Oracle(loaded, some, aim, press_on=True, ledger=ledger, ids=rows)
    problem = Problem(loaded, loaded, inputs, goal.y, data.ids, threat, seed)
    found = search(
        Case(some, aim, problem.keys(rows, "universal"), oracle),
        given["times"], given["steps"], given["share"], given["overshoot"],
    )  # fmt: skip
    changed = cast(Smooth, around).project(inputs + found.change)
    judged = judge(loaded, some, aim, changed[rows], random, rows)
    fooled = torch.zeros_like(read).index_put((rows,), judged.holds)
    forward, backward = torch.ones_like(goal.y), torch.zeros_like(goal.y)  # the clean pass
    forward[:LOOKED_AT] += LOOKS
    forward[rows] += ledger.forward + judged.passes
    backward[rows] += ledger.backward
    blind = int(((ledger.flat == ledger.backward) & (ledger.backward > 0)).sum())
    doubts += [*told, *([masked(blind)] if blind else [])]
    for doubt in doubts:
        warnings.warn(doubt, SoundnessWarning, stacklevel=2)
    return UniversalResult(
        as_given(found.change[None], data.turned)[0],
        as_given(changed, data.turned),
        read, fooled, forward, backward, tuple(doubts),
    )  # fmt: skip
