"""One attack on one batch, judged: what `robustly.attack` does."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any, cast

import torch
from torch import Tensor

from robustly.adapters.border import check_scores, in_range
from robustly.adapters.data import load_data
from robustly.adapters.layout import LAST, as_given
from robustly.adapters.models import load_model
from robustly.auditing.campaign import asking_of
from robustly.auditing.doubts import masked, not_finite, single_draws
from robustly.auditing.judge import VOTES, judge
from robustly.auditing.plan import pooled
from robustly.auditing.plan import walks as walks
from robustly.auditing.problem import Problem, turned
from robustly.core.errors import RunError, SoundnessWarning, UsageError
from robustly.core.rows import Batch, cut, device_of, put, take
from robustly.core.specs import Entry, Spec, build, entries, lookup
from robustly.goals import Goal
from robustly.oracle import Access, Ledger, Limits, Model, Oracle
from robustly.oracle.remote import CAMPAIGN
from robustly.steps import Attack, Case
from robustly.threats import Threat, as_threat, eps_of
from robustly.threats.base import PerturbationSet

LOOKED_AT, LOOKS = 8, 2
"""How many inputs are asked how often to see whether a model is random."""


@dataclass(frozen=True)
class Result:
    """What an attack achieved, one row an example.

    x: (B, ...), the counterexample where `success`, else the input as it was. success: bool (B,), confirmed by the judge on
    the model itself. distance: float64 (B,), in the threat's measure, infinite without success. margin: float64 (B,), lowest
    margin of any member asked. forward, backward: int64 (B,), passes spent on each example, the judge's included. flat: bool
    (B,), every gradient that was asked was zero or not finite, so that an attack which follows gradients was blind there.
    odd: bool (B,), the model's answer at the counterexample is not finite.
    warnings: what makes the result doubtful, as sentences; each was also given as a `SoundnessWarning`.
    """

    x: Batch
    success: Tensor
    distance: Tensor
    margin: Tensor
    forward: Tensor
    backward: Tensor
    flat: Tensor
    odd: Tensor
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        near = f", median distance {self.distance[self.success].median():.4g}" if self.success.any() else ""
        cost = f"{int(self.forward.sum())} F + {int(self.backward.sum())} B"
        doubts = f", {len(self.warnings)} warning{'s' * (len(self.warnings) > 1)}" if self.warnings else ""
        return f"<Result: {int(self.success.sum())} of {len(self.success)} broken{near}, {cost}{doubts}>"


def attack(
    attack: Attack,
    model: Any,
    x: Any,
    y: Any,
    threat: Threat | str,
    *,
    target: int | Tensor | None = None,
    seed: int = 0,
    queries: int | None = None,
    closest: bool | None = None,
    range: tuple[float, float] | None = None,
    access: str | None = None,
    layout: str | None = None,
) -> Result:
    """Attack B examples: attack(pgd(steps=20), model, x, y, Linf(8 / 255)).

    target: the label to reach, one for all or one a row; None for any wrong label. queries: hard limit of forward passes an
    example, at least 2, of which one is the judge's. closest: go on after the first success, for the nearest point; by
    default when eps is infinite.

    layout: "chw" or "hwc", where the channels of images are; told by the shape where it isn't said. The model is given them
    first (see `takes_hwc` for one that wants them last), and the result's x has them where the inputs had them.

    A model that answers the first 8 inputs differently when asked again is random (two passes each, on their account):
    the search goes on after a success, for the point of lowest margin, and the judge takes a vote, as in `audit`. Give
    such a model expected(...) attacks. A query budget below 4 has no room for the look.

    Warns with `SoundnessWarning`, and says it in the result, where gradients were zero or not finite or those of single
    draws of a random model, the answers of that look are probabilities, answers at counterexamples are not finite, or inputs
    were turned that nobody said are "hwc". None of these costs a pass of its own.

    Raises:
        UsageError: a target that is no label or the true one, an attack that cannot walk in the threat's sets, a query budget that
            the vote on a random model would use up, or anything `audit` would refuse.
        AccessError: the attack needs more access than is granted.
    """
    for value, what in ((queries, "queries"), (seed, "seed")):
        if isinstance(value, bool) or not isinstance(value, (Integral, type(None))):
            raise UsageError(f"{what} must be a whole number, got {value!r}.")
    if queries is not None and queries < 2:
        raise UsageError(f"a query budget is at least 2, one for the attack and one for the judge; got {queries}.")
    data = load_data((x, y), range=range, layout=layout)
    threat = turned(as_threat(threat), data)
    loaded = in_range(load_model(model, range=range, access=access), data)
    inputs = data.x.to(loaded.device) if isinstance(data.x, Tensor) else data.x
    labels = data.y.to(device_of(inputs))
    goal = Goal(labels, _targets(target, labels))
    around = threat.at(inputs, loaded.domain)
    asking = asking_of(loaded)
    random, looks = False, 0
    doubts = [note for note in data.notes if note.endswith(LAST)]
    paid: Tensor | None = None
    if asking is not None:
        from robustly.auditing.meeting import meet

        met = meet(loaded, asking, data, around)
        loaded, random, paid = met.model, met.random, met.spent
        doubts += met.warnings
    problem = Problem(loaded, loaded, inputs, labels, data.ids, threat, seed)
    made = _as_attack(attack)
    refuse_misfit(made, loaded, around, str(threat))
    everyone = torch.arange(len(labels), device=labels.device)
    press_on = eps_of(threat) == float("inf") if closest is None else closest
    if asking is None:
        looks = 0 if queries is not None and queries < LOOKS + 2 else LOOKS
        answers = look(loaded, inputs, looks)
        random = any(not torch.equal(answers[0], other) for other in answers[1:])
        if answers and loaded.access > Access.LABELS and answers[0].dim() == 2:
            loaded, told = check_scores(loaded, data, answers[0])
            doubts += told
    lucky = random or problem.lucky
    ledger = Ledger(inputs, labels.device, deepest=lucky and not press_on)
    if paid is not None:
        ledger.pay_each(everyone[: len(paid)], paid)  # first, so that the budget is what they leave of it
    limits = Limits(_left(queries, lucky, looks), held=VOTES if random else 0)
    oracle = Oracle(loaded, around, goal, limits=limits, press_on=press_on or lucky, ledger=ledger, ids=everyone)
    if asking is not None:
        asking.begin(str(getattr(attack, "spec", "attack")))
    made(Case(around, goal, problem.keys(everyone, str(getattr(attack, "spec", "attack"))), oracle))
    ledger.pay(everyone[:LOOKED_AT], forward=looks)
    hits = ledger.hit.nonzero().squeeze(1)
    success = torch.zeros_like(ledger.hit)
    points = inputs
    if len(hits):
        rest = None if queries is None or not random else queries - ledger.forward[hits]
        judged = judge(loaded, around.take(hits), goal.take(hits), take(ledger.point, hits), random, hits, rest)
        if judged.spent is None:
            ledger.pay_each(hits, torch.full_like(hits, judged.passes))
        elif random:  # where it is not, the judge is told again what the search was told, for nothing
            ledger.pay_each(hits, judged.spent)
        good = hits[judged.holds]
        success[good] = True
        points = put(inputs, good, take(ledger.point, good))
    if asking is not None and asking.ended and asking.ended != CAMPAIGN:
        raise RunError(f"{asking.ended}. What was answered is kept{f' in {asking.keep}' if asking.keep else ''}.")
    distance = torch.where(success, ledger.distance, float("inf"))
    flat, odd = (ledger.flat == ledger.backward) & (ledger.backward > 0), success & ledger.odd
    known = getattr(made, "spec", None)
    if random and isinstance(known, Spec) and not pooled(known):
        doubts.append(single_draws(known.name))
    doubts += [tell(int(rows.sum())) for tell, rows in ((masked, flat), (not_finite, odd)) if rows.any()]
    for doubt in doubts:
        warnings.warn(doubt, SoundnessWarning, stacklevel=2)
    points = as_given(points, data.turned) if isinstance(points, Tensor) else points
    return Result(
        points, success, distance, ledger.best_margin, ledger.forward, ledger.backward, flat, odd, tuple(doubts)
    )


def look(model: Model, x: Batch, times: int) -> list[Tensor]:
    """What the model says of the first inputs each time, NaN as 0: a random one says something else."""
    few = cut(x, slice(0, LOOKED_AT))
    return [torch.nan_to_num(model.ask(few.clone() if isinstance(few, Tensor) else few)) for _ in range(times)]


def _left(queries: int | None, random: bool, looks: int) -> int | None:
    """What a query budget leaves the attack.

    Raises:
        UsageError: nothing.
    """
    if queries is None:
        return None
    left = queries - looks - (VOTES if random else 1)
    if left < 1:
        raise UsageError(
            f"the model is random, so the judge asks it {VOTES} times: a query budget is at least {VOTES + LOOKS + 1}, "
            f"got {queries}."
        )
    return left


def refuse_misfit(attack: Attack, model: Model, around: PerturbationSet, threat: str) -> None:
    """Raise where a registered attack, or one inside it, cannot walk in the set; one without a spec is left to itself.

    Raises:
        UsageError: names the sets it walks in, and attacks that walk in this one.
    """
    made = getattr(attack, "spec", None)
    for leaf in made.leaves() if isinstance(made, Spec) else []:
        entry = lookup("attack", leaf.name)
        if walks(entry, around):
            continue
        able = [e.name for e in entries("attack") if _alone(e) and walks(e, around)]
        able = [name for name in able if Access[lookup("attack", name).needs.upper()] <= model.access]
        remedy = f" Attacks that can: {', '.join(able)}." if able else ""
        kind = type(around).__name__
        raise UsageError(
            f"{leaf.name} walks in {' or '.join(entry.sets)}, and {threat} is a{'n' * (kind[0] in 'AEIO')} {kind}.{remedy}"
        )


def _alone(entry: Entry) -> bool:
    """An attack that needs no other."""
    return not any(default is inspect.Parameter.empty for default in entry.parameters.values())


def _as_attack(given: Any) -> Attack:
    """An attack from what was given: itself, or made by name.

    Raises:
        UsageError: a factory that was not called, or something else altogether.
    """
    if isinstance(given, str):
        return build("attack", given, {})
    if callable(given) and not isinstance(getattr(given, "spec", None), Spec) and hasattr(given, "__wrapped__"):
        raise UsageError(f"{given.__name__} makes an attack: write {given.__name__}().")
    if not callable(given):
        raise UsageError(f"an attack is a function of a case, such as pgd(), or a name; got {given!r}.")
    return cast(Attack, given)


def _targets(target: int | Tensor | None, labels: Tensor) -> Tensor | None:
    if target is None:
        return None
    try:
        wanted = torch.as_tensor(target, device=labels.device)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"a target is a label, one for all or one a row; got {target!r}.") from None
    if wanted.is_floating_point() or wanted.dtype == torch.bool or wanted.shape not in ((), (1,), labels.shape):
        raise UsageError(
            f"a target is a label, or one label a row: whole numbers of shape ({len(labels)},); got {wanted.dtype} of shape "
            f"{tuple(wanted.shape)}."
        )
    if (wanted < 0).any():
        raise UsageError(f"a target is a label, from 0 on; got {int(wanted.min())}.")
    wanted = wanted.long().expand(len(labels)).contiguous()
    same = (wanted == labels).nonzero().flatten()
    if len(same):
        raise UsageError(
            f"the target of example {int(same[0])} is its true label {int(labels[same[0]])} ({len(same)} such): leave those "
            "examples out, or choose another target."
        )
    return wanted
