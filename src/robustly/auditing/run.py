"""The audit itself: stages in order, each on what is undecided, each batch judged and committed before the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustly.auditing.campaign import cut_short, progress_of
from robustly.auditing.findings import CLEAN, Finding, unheard, verdict
from robustly.auditing.plan import PlanStage
from robustly.auditing.problem import Problem
from robustly.auditing.progress import Snapshot, Watcher
from robustly.auditing.proving import Passes, allot, leaving
from robustly.auditing.stages import Outcome, Search, attack_pass, certify_pass, clean_pass, in_smaller_batches
from robustly.auditing.store import Batch, Store, by_example
from robustly.core.errors import AccessError, UsageError
from robustly.core.records import Verdict
from robustly.oracle import Access, Ledger, Model

CROSS_CHECK = 10_000
"""The stage number of the attack on certified examples that looks for contradictions."""
CHECKED = 32
"""Certified examples that the cross-check attacks."""
PROOFS = 32
"""Examples a commit where proofs have a share of the work: each takes long, and the bracket shows what is committed."""
FEW = 10
"""Examples that a share of the undecided comes to at least."""
MISSES, MISSED = 5, 0.05
"""A fast twin is dropped once more than this share of its finds, and at least so many, were not confirmed."""


@dataclass(frozen=True)
class Limits:
    """When to stop early. seconds: of this process, though its first batch is always finished. until: bracket width.
    Neither changes a verdict."""

    seconds: float | None = None
    until: float | None = None


class OutOfTime(Exception):  # noqa: N818 - it is no error
    """The time limit was reached inside a batch."""


class Place(NamedTuple):
    """Where a run is: size, stage, its name, examples of the stage done and asked."""

    eps: float
    stage: int
    name: str
    done: int
    asked: int


class Bracket(NamedTuple):
    """Fractions of all examples, and how many are undecided."""

    certified: float
    attacked: float
    undecided: int
    clean: float


@dataclass
class Run:
    """A run in progress. sizes: the eps values, the audited one first. batch: examples a commit."""

    problem: Problem
    stages: tuple[PlanStage, ...]
    sizes: tuple[float, ...]
    store: Store
    batch: int
    limits: Limits
    watch: Watcher | None = None
    known: dict[int, list[Finding]] = field(default_factory=dict)
    done: dict[tuple[float, int, int], Batch] = field(default_factory=dict)
    forward: int = 0
    backward: int = 0
    begun: float = field(default_factory=time.monotonic)
    shown: float = 0.0
    at: Place = field(default_factory=lambda: Place(0.0, CLEAN, "clean", 0, 0))
    verdicts: list[Verdict] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    fits: int = 2**31
    read: int = 0
    committed: int = 0
    now: Bracket = field(default_factory=lambda: Bracket(0.0, 1.0, 0, 1.0))
    ledger: Ledger | None = None
    cut: str | None = None

    @property
    def count(self) -> int:
        """N, the number of examples."""
        return len(self.problem.ids)


def execute(run: Run) -> str | None:
    """Run what is not yet committed; returns why it ended early, or None when all is done.

    Raises:
        Contradiction: an example is broken and certified.
        RunError: storage failed.
    """
    run.known = by_example(run.store.findings())
    run.done = {(b.eps, b.stage, b.batch): b for b in run.store.batches()}
    run.forward = sum(b.forward for b in run.done.values())
    run.backward = sum(b.backward for b in run.done.values())
    run.verdicts = [verdict(run.known.get(i, []), run.sizes[0])[0] for i in range(run.count)]
    run.read = sum(_read(f) for known in run.known.values() for f in known)
    run.now = counted(run.verdicts, run.read)
    try:
        return _all_stages(run)
    except OutOfTime:
        return _why(run)


def _all_stages(run: Run) -> str | None:
    if not _stage(run, run.sizes[0], CLEAN, "clean", list(range(run.count)), partial(_clean, run, run.sizes[0])):
        return _why(run)
    clean = _clean_scores(run)
    for eps in run.sizes:
        for number, stage in enumerate(run.stages):
            if not _planned(run, eps, number, stage, clean):
                return _why(run)
    return None if _cross_check(run, clean) else _why(run)


def undecided(run: Run, eps: float, before: int) -> list[int]:
    """Examples without a verdict at eps, as things stood when a stage began."""
    out = []
    for i in range(run.count):
        known = [f for f in run.known.get(i, []) if _earlier(run, f, eps, before)]
        if verdict(known, eps)[0] == "unknown" and not any(f.stage == CLEAN and unheard(f) for f in known):
            out.append(i)
    return out


def _earlier(run: Run, found: Finding | Batch, eps: float, stage: int) -> bool:
    """Was this known, or this batch done, when the stage began? Sizes run in the order of `run.sizes`."""
    if found.stage == CROSS_CHECK:
        return False
    if found.eps == eps or found.stage == CLEAN:
        return found.stage < stage
    return run.sizes.index(found.eps) < run.sizes.index(eps)


def _planned(run: Run, eps: float, number: int, stage: PlanStage, clean: Tensor | None) -> bool:
    """A stage of the plan; one with a probe goes on to the rest only if the probe decided something.

    A stage that turns out not to work in this set is left out, and said so; if it is the only one, that is an error.
    """
    if stage.after_hit and not _hit(run, eps, number - 1):
        return True
    begun = undecided(run, eps, before=2 * number)
    if stage.nearest is not None:
        begun = _nearest(run, begun, stage.nearest, eps, before=2 * number)
    work = _work(run, number, stage, clean, eps)
    if stage.share is not None:
        return _proven(run, eps, number, stage, begun, work)
    name = stage.spec.name
    chosen = begun if stage.probe is None else _some(run, begun, stage.probe, f"probe {number}")
    try:
        if not _stage(run, eps, 2 * number, name, chosen, partial(work, 2 * number)):
            return False
        if stage.probe is None or not any(_decided(run, i, eps, 2 * number) for i in chosen):
            return True
        rest = sorted(set(begun) - set(chosen))
        return _stage(run, eps, 2 * number + 1, name, rest, partial(work, 2 * number + 1))
    except (UsageError, AccessError) as error:
        if len(run.stages) == 1:
            raise
        run.left_out.append(f"{stage.spec} was left out: {error}")
        return True


def _proven(run: Run, eps: float, number: int, stage: PlanStage, begun: list[int], work: Passes) -> bool:
    """A stage of proofs that has a share of the attacks' work, likeliest examples first."""
    margin, come = _margins(run, begun, eps, before=2 * number), _come(run, begun, eps, before=2 * number)
    order = sorted(begun, key=lambda i: (-come[i], -margin[i], i))
    attacks = {k for k, other in enumerate(run.stages) if other.kind == "attack"}
    batches = [b for b in run.done.values() if b.eps == eps and b.stage < 2 * number and b.stage // 2 in attacks]
    allotted = allot(run.problem, stage, order, eps, sum(b.forward + b.backward for b in batches))
    first = allotted.tried[: stage.probe]
    name, size = stage.spec.name, min(run.batch, PROOFS)
    if not _stage(run, eps, 2 * number, name, first, partial(work, 2 * number), size):
        return False
    rest, left = allotted.tried[len(first) :], dict(allotted.left)
    if rest and not any(_decided(run, i, eps, 2 * number) for i in first):
        left.update(dict.fromkeys(rest, f"{name} was not tried: it decided none of the {len(first)} likeliest"))
        rest = []
    index = [*rest, *(i for i in order if i in left)]
    return _stage(run, eps, 2 * number + 1, name, index, partial(leaving, work, 2 * number + 1, stage, eps, left), size)


def _hit(run: Run, eps: float, number: int) -> bool:
    """Did a stage of the plan break an example at this size?"""
    at = (2 * number, 2 * number + 1)
    return any(f.outcome == "broken" and f.eps == eps and f.stage in at for known in run.known.values() for f in known)


def _decided(run: Run, example: int, eps: float, stage: int) -> bool:
    found = [f for f in run.known.get(example, []) if f.eps == eps and f.stage == stage]
    return any(f.outcome in ("broken", "certified") for f in found)


def _problem(run: Run, stage: PlanStage, eps: float, before: int) -> Problem:
    """The problem with the model that a stage searches on: one of the original's precision where the stage wants that, and
    the original where too many finds of the twin were not confirmed in the stages before, as they stand in the store."""
    problem = run.problem
    searched = (problem.exact or problem.model) if stage.original else problem.search
    if searched is problem.model or stage.kind == "certify":
        return _searching(problem, problem.model)
    others = [k for k, s in enumerate(run.stages) if s.original != stage.original]  # not on the same twin
    batches = [b for b in run.done.values() if b.stage // 2 not in others and _earlier(run, b, eps, before)]
    known = [f for known in run.known.values() for f in known if f.outcome == "broken" and f.stage // 2 not in others]
    missed, finds = sum(b.judged_misses for b in batches), sum(_earlier(run, f, eps, before) for f in known)
    if missed >= MISSES and missed > MISSED * (finds + missed):
        told = f"the fast twin was dropped: {missed} of its finds were not confirmed by the judge, {finds} were"
        run.left_out.extend([] if any(t.startswith("the fast twin was dropped") for t in run.left_out) else [told])
        return _searching(problem, problem.model)
    return _searching(problem, searched)


def _searching(problem: Problem, on: Model) -> Problem:
    return problem if problem.search is on else replace(problem, search=on)


def _work(
    run: Run, number: int, stage: PlanStage, clean: Tensor | None, eps: float
) -> Callable[[int, Tensor, dict[int, list[int]]], Outcome]:
    same = sum(str(other.spec) == str(stage.spec) for other in run.stages[:number])
    purpose = f"{stage.spec} again {same}" if same else str(stage.spec)  # an equal stage draws other points
    problem = _problem(run, stage, eps, 2 * number)

    def work(position: int, index: Tensor, spent: dict[int, list[int]]) -> Outcome:
        if stage.kind == "certify":
            return certify_pass(problem, stage, position, partial(tick, run), index, eps, spent)
        see = partial(setattr, run, "ledger")
        search = Search(stage, position, purpose, clean, run.store.keep_point, partial(tick, run), see)
        return attack_pass(problem, search, index, eps, spent)

    return work


def _clean(run: Run, eps: float, index: Tensor, spent: dict[int, list[int]]) -> Outcome:
    tick(run, len(index), 0)
    return clean_pass(run.problem, index, eps, spent)


def _some(run: Run, among: list[int], count: int, purpose: str) -> list[int]:
    """`count` examples chosen by their own keys, so that the choice does not depend on order or batch."""
    if len(among) <= count:
        return among
    rank = run.problem.keys(torch.tensor(among), purpose)[:, 0].tolist()
    return sorted(i for _, i in sorted(zip(rank, among, strict=True))[:count])


def _nearest(run: Run, among: list[int], wanted: float, eps: float, before: int) -> list[int]:
    """Those of lowest margin in what was asked at this size before the stage began: a share of them (but FEW at least,
    so that the last ones a certifier leaves are searched in earnest), or so many."""
    count = max(round(wanted * len(among)), FEW) if wanted < 1 else int(wanted)
    margin = _margins(run, among, eps, before)
    return sorted(sorted(among, key=lambda i: (margin[i], i))[:count])


def _margins(run: Run, among: list[int], eps: float, before: int) -> dict[int, float]:
    """The lowest margin seen of each example before a stage began."""

    def margin(example: int) -> float:
        known = [f for f in run.known.get(example, []) if _earlier(run, f, eps, before)]
        seen = [f.best_margin if f.stage != CLEAN else f.margin for f in known if f.stage == CLEAN or f.eps == eps]
        return min((m for m in seen if m is not None and m == m), default=float("inf"))

    return {i: margin(i) for i in among}


def _stage(
    run: Run,
    eps: float,
    stage: int,
    name: str,
    index: list[int],
    work: Callable[[Tensor, dict[int, list[int]]], Outcome],
    batch: int | None = None,
) -> bool:
    """Run and commit the batches of a stage that are not committed yet; False when a limit ends the run."""
    for number, start in enumerate(range(0, len(index), batch or run.batch)):
        rows = index[start : start + (batch or run.batch)]
        if (eps, stage, number) in run.done:
            continue
        if _why(run):
            return False
        begun, forward, backward = time.monotonic(), run.forward, run.backward
        _show(run, Place(eps, stage, name, start, len(index)))
        at = torch.tensor(rows, device=run.problem.y.device)
        if run.problem.model.remote is not None:
            run.problem.model.remote.begin(f"{eps!r} {stage} {number}")
        outcome, run.fits = in_smaller_batches(work, at, eps, stage, run.fits)
        spent = (sum(f.forward for f in outcome.findings), sum(f.backward for f in outcome.findings))
        run.forward, run.backward = forward + spent[0], backward + spent[1]
        asked = len(rows) - outcome.untried
        done = Batch(eps, stage, number, asked, *spent, time.monotonic() - begun, outcome.judged_misses)
        run.store.commit(done, outcome.findings, _bytes(outcome))
        run.done[eps, stage, number] = done
        for found in outcome.findings:
            run.known.setdefault(found.index, []).append(found)
        run.committed += 1
        run.ledger, run.cut = None, run.cut or cut_short(run.problem, outcome.findings)
        for i in rows:
            run.verdicts[i] = verdict(run.known[i], run.sizes[0])[0]
        run.read += sum(_read(f) for f in outcome.findings)
        run.now = counted(run.verdicts, run.read)
        _show(run, Place(eps, stage, name, start + len(rows), len(index)))
    return True


def _cross_check(run: Run, clean: Tensor | None) -> bool:
    """Attack some certified examples with the plan's first attack that works in this set: a hit would mean that certifier
    or judge is wrong."""
    eps = run.sizes[0]
    found = [i for i in range(run.count) if verdict(run.known.get(i, []), eps)[0] == "certified"]
    if not found:
        return True
    chosen = _some(run, found, CHECKED, "cross-check")
    for attack in (s for s in run.stages if s.kind == "attack"):
        work = _work(run, CROSS_CHECK, attack, clean, eps)
        try:
            name = f"cross-check {attack.spec.name}"
            finished = _stage(run, eps, CROSS_CHECK, name, chosen, partial(work, CROSS_CHECK))
        except (UsageError, AccessError):  # the stage itself was left out for the same, and said so
            continue
        for i in chosen:
            verdict(run.known[i], eps)  # raises Contradiction
        return finished
    return True


def _come(run: Run, among: list[int], eps: float, before: int) -> dict[int, float]:
    """How much of the way from the lowest bound to the lowest margin lies above zero: what a tighter bound need not make up."""
    margin, out = _margins(run, among, eps, before), {}
    for i in among:
        known = [f.bound for f in run.known.get(i, []) if f.eps == eps and _earlier(run, f, eps, before)]
        bound = max((b for b in known if b is not None and b == b), default=float("-inf"))
        out[i] = 0.0 if bound == float("-inf") or margin[i] == float("inf") else margin[i] / (margin[i] - bound)
    return out


def _clean_scores(run: Run) -> Tensor | None:
    """Clean scores (N, K) from the store, so that a resumed run does not pay them again."""
    if run.problem.model.access == Access.LABELS:
        return None
    stored = run.store.clean_scores()
    width = max((len(blob) for blob in stored.values()), default=0) // 4
    out = torch.zeros(run.count, width)
    for example, blob in stored.items():
        out[example] = torch.from_numpy(np.frombuffer(blob, dtype=np.float32).copy())
    return out.to(run.problem.y.device)


def _bytes(outcome: Outcome) -> dict[int, bytes]:
    """Clean scores by example, of those for which the model did not raise."""
    if outcome.clean is None:
        return {}
    answered = [f.index for f in outcome.findings if "raised" not in f.flags and not unheard(f)]
    return {i: row.tobytes() for i, row in zip(answered, outcome.clean.float().cpu().numpy(), strict=True)}


def _why(run: Run) -> str | None:
    """The limit that has been reached, if any."""
    if run.cut:
        return run.cut
    if run.limits.seconds is not None and time.monotonic() - run.begun >= run.limits.seconds:
        return f"the time limit of {run.limits.seconds:g} s was reached"
    width = run.now.attacked - run.now.certified
    all_clean = sum(b.asked for b in run.done.values() if b.stage == CLEAN) == run.count
    if run.limits.until is not None and all_clean and width <= run.limits.until:
        return f"the bracket is {width:.3f} wide, within the {run.limits.until:g} asked for"
    return None


def bracket(run: Run, eps: float, strict: bool = True) -> Bracket:
    """The bracket at a size, from all that is known."""
    return counted([verdict(run.known.get(i, []), eps, strict)[0] for i in range(run.count)], run.read)


def _read(found: Finding) -> bool:
    """Does this finding say that the unperturbed example is read correctly?"""
    return found.stage == CLEAN and found.outcome == "open" and not unheard(found)


def counted(verdicts: Sequence[Verdict], read: int) -> Bracket:
    """The bracket that verdicts make, where `read` examples are read correctly."""
    certified, unknown = (verdicts.count(v) for v in ("certified", "unknown"))
    n = max(len(verdicts), 1)
    return Bracket(certified / n, (certified + unknown) / n, unknown, read / n)


def tick(run: Run, forward: int, backward: int) -> None:
    """Passes were spent, or time went by; raises `OutOfTime` when the limit is reached."""
    run.forward += forward
    run.backward += backward
    limit = run.limits.seconds
    if limit is not None and run.committed and time.monotonic() - run.begun >= limit:
        raise OutOfTime
    if time.monotonic() - run.shown > 0.2:
        _show(run, run.at)


def _show(run: Run, place: Place) -> None:
    run.at, run.shown = place, time.monotonic()
    if run.watch:
        spent = progress_of(run.problem.model, run.known, run.verdicts, run.ledger)
        position = 0 if place.stage == CLEAN else min(place.stage // 2 + 1, len(run.stages) + 1)
        run.watch(
            Snapshot(
                examples=run.count,
                certified=run.now.certified,
                attacked=run.now.attacked,
                undecided=run.now.undecided,
                clean=run.now.clean,
                stage=place.name,
                stage_number=position,
                stages=len(run.stages),
                eps=place.eps,
                done=place.done,
                asked=place.asked,
                forward=run.forward,
                backward=run.backward,
                seconds=time.monotonic() - run.begun,
                campaign=spent,
            )
        )
