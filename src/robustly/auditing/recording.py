"""From a run to its record: the facts, the warnings that the finished table gives, and what was not tested."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from robustly.adapters.data import Data
from robustly.auditing import summarise
from robustly.auditing.campaign import asking_of, facts_of
from robustly.auditing.doubts import masked, not_finite
from robustly.auditing.plan import Plan
from robustly.auditing.run import Run
from robustly.core.errors import Contradiction
from robustly.core.records import DataFacts, ModelFacts, Record, Row, Summary
from robustly.oracle import smoothing_of
from robustly.oracle.remote import BUDGET, STOPPED, UNANSWERED
from robustly.threats import Corrupt, Edits, Rotate, Shift, Threat, eps_of

if TYPE_CHECKING:
    from robustly.adapters.endpoint.asking import Asking


class Source(NamedTuple):
    """The words that name a model on the command line, its weights and the settings of an endpoint."""

    model: str | None
    weights: str | None
    settings: str | None = None


def recorded(
    run: Run,
    plan: Plan,
    data: Data,
    facts: dict[str, Any],
    why: str | None,
    contradiction: Contradiction | None,
    torn: int,
    command: str | None,
    source: Source,
) -> Record:
    """The record of a run as it stands. facts: what was met before it began, see `audit`; why: a limit that ended it."""
    model, problem = run.problem.model, run.problem
    probes = (facts["forward"], facts["backward"])
    table = summarise.rows(run)
    summary = summarise.summary(run, table, probes)
    return Record(
        status="contradiction" if contradiction else "partial" if why else "complete",
        why_partial=str(contradiction) if contradiction else why,
        threat=str(problem.threat),
        eps=eps_of(problem.threat),
        plan=plan.name,
        plan_stages=tuple(str(s) for s in run.stages),
        seed=problem.seed,
        model=ModelFacts(
            name=model.name,
            digest=model.digest,
            access=model.access.name.lower(),
            domain=(model.domain.low, model.domain.high),
            classes=model.classes,
            device=str(model.device),
            source=source.model,
            weights=source.weights,
            smoothed=None if (votes := smoothing_of(model)) is None else str(votes.noise),
        ),
        data=DataFacts(
            name=data.name,
            digest=data.digest,
            count=len(data.ids),
            shape=tuple(data.x.shape[1:]) if isinstance(data.x, Tensor) else (),
            kind=data.kind,
            classes=data.classes,
            source=data.source,
        ),
        endpoint=facts_of(model, source.settings),
        summary=summary,
        stages=summarise.stages(run, probes),
        sweep=summarise.sweep(run),
        rows=table,
        warnings=(*facts["warnings"], *_observed(table, summary, torn), *_unheard(table, asking_of(model))),
        notes=tuple(dict.fromkeys(facts["notes"])),
        not_tested=(*_always(problem.threat, why), *dict.fromkeys(run.left_out), *plan.not_tested),
        versions={
            "robustly": metadata.version("robustly"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        machine=f"{platform.machine()}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}, {model.device}",
        command=command,
        started=facts["started"],
    )


def _observed(table: tuple[Row, ...], summary: Summary, torn: int) -> list[str]:
    """Warnings that only the finished table can give."""
    out = []
    flat = sum("flat-gradient" in r.flags for r in table)
    odd = sum("non-finite" in r.flags for r in table)
    ties = sum("tie" in r.flags for r in table)
    raised = sum("raised" in r.flags for r in table)
    if flat:
        out.append(masked(flat))
    if odd:
        out.append(not_finite(odd))
    if ties:
        out.append(f"ties: the two best scores were equal for {ties} examples; a tie counts against the model.")
    if raised:
        out.append(f"the model raised an error for {raised} examples; they count as not robust.")
    classes = len({r.label for r in table})
    if summary.clean_asked == len(table) and classes > 1 and summary.clean <= 1 / classes:
        out.append(
            f"clean accuracy {summary.clean:.1%} is no better than chance for {classes} classes: labels in another order, "
            "missing normalisation, or weights that were not loaded?"
        )
    if summary.judged_misses:
        out.append(f"{summary.judged_misses} finds of the search were not confirmed by the judge and were dropped.")
    if torn:
        out.append(
            f"{torn} stages had missing or damaged counterexamples when the run was resumed; they were computed again."
        )
    return out


def _unheard(table: tuple[Row, ...], asking: Asking | None) -> list[str]:
    """Warnings about an endpoint that changed or left questions open."""
    out = [] if asking is None or not asking.changed else [asking.changed + ": what was found before may not hold now."]
    said = {
        BUDGET: "ran out of query budget; the best found so far is kept, and what is not broken is undecided",
        UNANSWERED: "got no answer to some question after all retries, so the search there ended early",
        STOPPED: "not searched to the end, because the campaign was stopped",
    }
    counts = {flag: sum(flag in row.flags for row in table) for flag in said}
    return out + [f"{count} example{'s' * (count > 1)} {said[flag]}." for flag, count in counts.items() if count]


def _others(threat: Threat) -> str:
    """Other kinds of change, in words."""
    if isinstance(threat, Edits):
        return "changes of meaning, words or layout"
    own = (
        "rotations"
        if isinstance(threat, (Rotate, Shift))
        else "corruptions"
        if isinstance(threat, Corrupt)
        else "norms"
    )
    every = ["norms", "rotations", "corruptions", "patches"]
    return "other norms, rotations, patches" if own == "norms" else ", ".join(kind for kind in every if kind != own)


def _always(threat: Threat, why: str | None) -> list[str]:
    """What no audit of this kind tells."""
    out = [
        f"changes outside {threat}: larger sizes, {_others(threat)}, other inputs than these",
        "undecided examples: no counterexample was found within the plan's passes, which proves nothing",
        "attackers who adapt to this very model by hand",
    ]
    return [f"the rest of the plan: {why}", *out] if why else out
