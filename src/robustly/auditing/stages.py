"""One batch of one stage: run it, judge what it claims, and say what was learnt of each example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robustly.auditing.findings import CLEAN, Finding
from robustly.auditing.judge import VOTES, Judgement, confidence, judge
from robustly.auditing.plan import PlanStage
from robustly.auditing.problem import Problem
from robustly.auditing.votes import FRESH, read_votes
from robustly.core.errors import ModelRaised, RunError
from robustly.core.points import Pair, pair_bytes
from robustly.core.rows import Batch, take
from robustly.oracle import Access, Limits, Model, Oracle, smoothing_of
from robustly.oracle.ledger import Ledger
from robustly.steps import Case


class Outcome(NamedTuple):
    """Findings, one an example asked; finds the judge refused; clean scores (R, K) from the clean pass; how many were left alone."""

    findings: list[Finding]
    judged_misses: int = 0
    clean: Tensor | None = None
    untried: int = 0


Work = Callable[[Tensor, dict[int, list[int]]], Outcome]


def in_smaller_batches(work: Work, index: Tensor, eps: float, stage: int, fits: int) -> tuple[Outcome, int]:
    """Run work on a batch, at most `fits` rows at a time; returns the outcome and how many rows fit.

    Halved on out-of-memory, which costs the examples nothing and is remembered; where the model raises, halved down to
    the example that is to blame, with the passes of the failed attempts on its and its neighbours' account.

    Raises:
        RunError: a single example does not fit in memory.
    """
    spent: dict[int, list[int]] = {}

    def attempt(rows: Tensor) -> list[Outcome]:
        nonlocal fits
        if len(rows) > fits:
            return attempt(rows[: len(rows) // 2]) + attempt(rows[len(rows) // 2 :])
        before = {i: list(account) for i, account in spent.items()}
        try:
            return [work(rows, spent)]
        except (torch.OutOfMemoryError, MemoryError) as error:
            if len(rows) == 1:
                raise RunError(f"example {int(rows[0])} alone does not fit in memory: {error}.") from error
            spent.clear()
            spent.update(before)
            fits = len(rows) // 2
            return attempt(rows)
        except ModelRaised as error:
            if len(rows) == 1:
                blamed = Finding(
                    eps=eps, stage=stage, index=int(rows[0]), outcome="invalid", flags=("raised",), error=str(error)
                )
                return [Outcome([blamed])]
            return attempt(rows[: len(rows) // 2]) + attempt(rows[len(rows) // 2 :])

    parts = attempt(index)
    findings = [_charged(f, spent) for part in parts for f in part.findings]
    clean = [part.clean for part in parts if part.clean is not None]
    misses = sum(part.judged_misses for part in parts)
    untried = sum(part.untried for part in parts)
    return Outcome(findings, misses, torch.cat(clean) if clean else None, untried), fits


def clean_pass(problem: Problem, index: Tensor, eps: float, spent: dict[int, list[int]]) -> Outcome:
    """Ask the model about unperturbed examples: misclassified, invalid, or open."""
    x, goal = take(problem.x, index), problem.goal(index)
    smoothing = smoothing_of(problem.model)
    if smoothing is not None and isinstance(x, Tensor):
        _charge(spent, index, forward=torch.full_like(index, FRESH + 1))
        return Outcome(read_votes(smoothing, goal, index, x, eps), 0, smoothing.scores(x))
    afar = problem.model.remote is not None
    if not afar:
        _charge(spent, index, forward=torch.ones_like(index))  # before it is asked: it may raise
    replies = problem.model.replies(x, index)
    if afar:
        _charge(spent, index, forward=replies.spent)
    answer = replies.answers
    if problem.model.access == Access.LABELS:
        wrong, odd = goal.met_by_labels(answer), torch.zeros_like(index, dtype=torch.bool)
        labels, sure, margin = answer, torch.full((len(index),), float("nan")), torch.full((len(index),), float("nan"))
    else:
        wrong, odd = goal.met(answer), ~torch.isfinite(answer).all(1)
        labels, sure, margin = answer.argmax(1), confidence(answer), goal.margin(answer).double()
    out = []
    for row, i in enumerate(index.tolist()):
        if row in replies.why:
            flag, why = replies.why[row]
            seen = Finding(eps=eps, stage=CLEAN, index=i, outcome="open", by="clean", flags=(flag,), why=why)
            out.append(seen)
            continue
        outcome = "invalid" if odd[row] else "misclassified" if wrong[row] else "open"
        flags = ("non-finite",) if odd[row] else ("tie",) if margin[row] == 0 else ()
        out.append(
            Finding(
                eps=eps,
                stage=CLEAN,
                index=i,
                outcome=outcome,
                by="clean",
                label=None if odd[row] else int(labels[row]),
                confidence=float(sure[row]),
                margin=float(margin[row]),
                flags=flags,
                error="the model answered NaN or infinity on the clean input" if odd[row] else None,
            )
        )
    return Outcome(out, 0, answer[replies.answered] if problem.model.access > Access.LABELS else None)


@dataclass(frozen=True)
class Search:
    """What an attack pass needs besides its examples. purpose: of its random keys. clean: scores (N, K), if known."""

    stage: PlanStage
    number: int
    purpose: str
    clean: Tensor | None
    keep: Callable[[bytes], str]
    tick: Callable[[int, int], None]
    see: Callable[[Ledger], None] = lambda ledger: None


def attack_pass(problem: Problem, search: Search, index: Tensor, eps: float, spent: dict[int, list[int]]) -> Outcome:
    """Run an attack on undecided examples and have each find judged on the user's own model.

    A find of a fast twin that the judge does not confirm sends its example through the attack again, on the original.
    """
    found = _attacked(problem, problem.search, search, index, eps, spent)
    missed = [f.index for f in found if "judged-miss" in f.flags]
    if missed and problem.search is not problem.model:
        rows = torch.tensor(missed, device=index.device)
        again = {f.index: f for f in _attacked(problem, problem.model, search, rows, eps, spent)}
        found = [again.get(f.index, f) for f in found]
    return Outcome(found, len(missed))


def _attacked(
    problem: Problem, model: Model, search: Search, index: Tensor, eps: float, spent: dict[int, list[int]]
) -> list[Finding]:
    around, goal = problem.around(index, eps), problem.goal(index)
    ledger = Ledger(around.x, index.device, deepest=problem.lucky)
    clean = None if search.clean is None else search.clean[index]
    search.see(ledger)
    oracle = Oracle(
        model,
        around,
        goal,
        clean=clean,
        ledger=ledger,
        tick=search.tick,
        press_on=problem.lucky,
        limits=Limits(held=VOTES if problem.random else 0),
        ids=index,
    )
    try:
        search.stage.make(Case(around, goal, problem.keys(index, search.purpose), oracle))
    finally:
        _charge(spent, index, ledger.forward, ledger.backward)
    hits = ledger.hit.nonzero().squeeze(1)
    points = take(ledger.point, hits)
    judged = None
    if len(hits):
        judged = judge(problem.model, around.take(hits), goal.take(hits), points, problem.random, index[hits])
        passes = torch.full_like(hits, judged.passes) if judged.spent is None else judged.spent
        _charge(spent, index[hits], passes)
        search.tick(int(passes.sum()), 0)
    position = {row: k for k, row in enumerate(hits.tolist())}
    flat = ((ledger.flat == ledger.backward) & (ledger.backward > 0)).tolist()
    out = []
    for row, i in enumerate(index.tolist()):
        k = position.get(row)
        seen = Finding(
            eps=eps,
            stage=search.number,
            index=i,
            outcome="open",
            by=str(search.stage.spec),
            best_margin=float(ledger.best_margin[row]),
            flags=("flat-gradient",) if flat[row] else (),
        )
        if k is not None and judged is not None and judged.holds[k]:
            seen = _broken(seen, judged, k, search.keep(pair_bytes(_pair(points, k, around.x, row))))
        elif k is not None and judged is not None and k in judged.unheard:
            seen = _unheard(seen, judged.unheard[k])
        elif k is not None:
            seen = seen.model_copy(update={"flags": (*seen.flags, "judged-miss")})
        elif row in ledger.shut:
            seen = _unheard(seen, ledger.shut[row])
        out.append(seen)
    return out


def _unheard(seen: Finding, said: tuple[str, str]) -> Finding:
    """A finding that might have come out otherwise, had a remote answered on."""
    flag, why = said
    return seen.model_copy(update={"flags": (*seen.flags, flag), "why": why})


def certify_pass(
    problem: Problem,
    stage: PlanStage,
    number: int,
    tick: Callable[[int, int], None],
    index: Tensor,
    eps: float,
    spent: dict[int, list[int]],
) -> Outcome:
    """Ask a certifier for a lower bound on the margin; above zero is a certificate (a tie counts against the model)."""
    bound = stage.make(problem.model, problem.around(index, eps), problem.goal(index))
    passes = torch.full_like(index, bound.forward) if bound.spent is None else bound.spent
    _charge(spent, index, passes)
    tick(int(passes.sum()), 0)
    out = []
    for row, i in enumerate(index.tolist()):
        lower, why = float(bound.lower[row]), bound.why[row]
        proven = why is None and lower > 0
        out.append(
            Finding(
                eps=eps,
                stage=number,
                index=i,
                outcome="certified" if proven else "open",
                by=str(stage.spec),
                bound=lower,
                why=None if proven else why or f"{stage.spec.name} bound {lower:.3g} is not above 0",
            )
        )
    return Outcome(out)


def _broken(seen: Finding, judged: Judgement, k: int, point: str) -> Finding:
    flags = [*seen.flags]
    if judged.odd[k]:
        flags.append("non-finite")
    if judged.tied[k]:
        flags.append("tie")
    return seen.model_copy(
        update={
            "outcome": "broken",
            "label": int(judged.label[k]),
            "confidence": _number(judged.confidence[k]),
            "margin": _number(judged.margin[k]),
            "distance": float(judged.distance[k]),
            "point": point,
            "flags": tuple(flags),
        }
    )


def _pair(points: Batch, k: int, x: Batch, row: int) -> Pair:
    if isinstance(points, Tensor) and isinstance(x, Tensor):
        return Pair(points[k].cpu().numpy(), x[row].cpu().numpy())
    return Pair(str(points[k]), str(x[row]))


def _number(value: Tensor) -> float | None:
    return float(value) if torch.isfinite(value) else None


def _charge(
    spent: dict[int, list[int]], index: Tensor, forward: Tensor | None = None, backward: Tensor | None = None
) -> None:
    none = torch.zeros_like(index)
    for i, f, b in zip(
        index.tolist(),
        (none if forward is None else forward).tolist(),
        (none if backward is None else backward).tolist(),
        strict=True,
    ):
        account = spent.setdefault(i, [0, 0])
        account[0] += f
        account[1] += b


def _charged(finding: Finding, spent: dict[int, list[int]]) -> Finding:
    forward, backward = spent.get(finding.index, [0, 0])
    return finding.model_copy(update={"forward": forward, "backward": backward})
