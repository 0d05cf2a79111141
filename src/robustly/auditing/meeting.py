"""The first questions to a model behind a wire: few, on the accounts of the examples they are about, and never twice."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.adapters.border import check_pair
from robustly.adapters.data import Data
from robustly.adapters.endpoint.asking import Asking
from robustly.auditing.judge import VOTES
from robustly.core.errors import UsageError
from robustly.core.rows import cut
from robustly.oracle import Access, Model
from robustly.threats import PerturbationSet

RANDOM = (
    "the endpoint is random: the same input got different answers. Every question is asked anew, and counterexamples are "
    "re-voted by the judge (broken if most of fresh answers are wrong)."
)


class Met(NamedTuple):
    """The model as it answers. warnings, notes: sentences for the record. forward: queries that no example is charged. spent: int64
    (F,), queries that went on the accounts of the first F examples."""

    model: Model
    random: bool
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    forward: int
    spent: Tensor


def meet(model: Model, asking: Asking, data: Data, around: PerturbationSet) -> Met:
    """Ask the first inputs, look whether the endpoint answers them the same again, and compare what it says with the data.

    around: the sets of the first inputs. A resumed run is told the same from the store, for nothing.

    Raises:
        UsageError: no answer, or one that makes no sense of these data; the message says which.
    """
    asking.prepare(model.domain, data.ids, data.classes)
    asking.begin("first")
    first = asking.settle(data.x, torch.arange(len(data.y)))
    _refuse_too_few(asking, first.random)
    if asking.reader.labels_only and model.access > Access.LABELS:
        model = replace(model, access=Access.LABELS)
    answers = asking.named(first.answers) if model.access == Access.LABELS else first.answers
    heard = replace(model, call=lambda z: answers[: len(z)], remote=None)
    checked = check_pair(heard, data)
    met = replace(checked.model, call=model.call, remote=asking)
    warnings = [*checked.warnings, *([RANDOM] if first.random else []), *_moved(asking, around)]
    asked = (
        f"{len(first.answers)} inputs were asked {1 + asking.settings.check.times} times to see whether it is random"
    )
    notes = (f"what a request carries: {asking.wire.told}; inputs are judged as they are read from it", asked)
    paid_again = int(first.spent.sum()) if first.random else 0
    return Met(
        met, first.random, tuple(warnings), (*checked.model.notes, *notes), first.checks + paid_again, first.spent
    )


def _refuse_too_few(asking: Asking, random: bool) -> None:
    """Raise where the judge's votes on a random model leave an example nothing to search with."""
    most, need = asking.settings.limits.queries, VOTES + 3
    if random and most is not None and most < need:
        raise UsageError(
            f"the endpoint is random, so the judge asks it {VOTES} times: a budget of {most} queries an example is too small "
            f"for one step. Give limits.queries = {need} or more."
        )


def _moved(asking: Asking, around: PerturbationSet) -> list[str]:
    """A warning where clean inputs do not arrive as they are."""
    x = around.x
    if not isinstance(x, Tensor):
        return []
    arrived = asking.carried(x)
    assert isinstance(arrived, Tensor)
    far = float((arrived - x).abs().max())
    if far <= 1e-6 * max(1.0, float(x.abs().max())):
        return []
    outside = int((~around.contains(asking.carried(cut(x, slice(0, len(x))), around))).sum())
    told = (
        f"the encoding changes unperturbed inputs by up to {far:.3g} ({asking.wire.told}): the endpoint never sees them"
    )
    return [f"{told} as they are" + (f", and {outside} of {len(x)} leave the threat's set by it" if outside else "")]
