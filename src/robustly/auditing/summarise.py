"""From findings to the record: rows, summary, stages, sweep."""

from __future__ import annotations

from robustly.auditing.campaign import asking_of
from robustly.auditing.findings import CLEAN, Finding, verdict
from robustly.auditing.plan import PlanStage
from robustly.auditing.run import CROSS_CHECK, Run, bracket
from robustly.auditing.statistics import clopper_pearson
from robustly.core.records import Interval, Row, Stage, Summary, SweepPoint


def rows(run: Run) -> tuple[Row, ...]:
    """One row an example, at the audited size."""
    return tuple(_row(run, i, run.known.get(i, [])) for i in range(run.count))


def _row(run: Run, index: int, findings: list[Finding]) -> Row:
    said, by = verdict(findings, run.sizes[0], strict=False)
    clean = next((f for f in findings if f.stage == CLEAN), None)
    broken = by if said == "broken" else None
    bounds = [f.bound for f in findings if f.bound is not None and f.eps == run.sizes[0]]
    margins = [f.best_margin for f in findings if f.best_margin is not None]
    at = [(eps, verdict(findings, eps, strict=False)[0]) for eps in run.sizes]
    return Row(
        index=index,
        id=run.problem.ids[index],
        label=int(run.problem.y[index]),
        verdict=said,
        by=by.by if by else None,
        stage=None if by is None or by.stage in (CLEAN, CROSS_CHECK) else by.stage // 2,
        clean_label=clean.label if clean else None,
        clean_confidence=clean.confidence if clean else None,
        clean_margin=clean.margin if clean else None,
        adversarial_label=broken.label if broken else None,
        adversarial_confidence=broken.confidence if broken else None,
        adversarial_margin=broken.margin if broken else None,
        distance=broken.distance if broken else None,
        counterexample=broken.point if broken else None,
        bound=max(bounds, default=None),
        best_margin=min(margins, default=None),
        broken_at=min((eps for eps, v in at if v == "broken"), default=None),
        certified_at=max((eps for eps, v in at if v == "certified"), default=None),
        forward=sum(f.forward for f in findings),
        backward=sum(f.backward for f in findings),
        flags=_flags(findings),
        error=next((f.error for f in findings if f.error), None),
        why=next((f.why for f in reversed(findings) if f.why and f.eps == run.sizes[0]), None)
        if said == "unknown"
        else None,
        queries=0 if (asking := asking_of(run.problem.model)) is None else asking.spent_on(index),
        broken_after=_taken(findings, broken) if broken else None,
    )


def _taken(findings: list[Finding], by: Finding) -> int:
    """Forward passes of an example up to the finding that decided it, in the order they were made."""
    return sum(f.forward for f in findings[: findings.index(by) + 1])


def _flags(findings: list[Finding]) -> tuple[str, ...]:
    """All flags of an example; that its gradient is flat only if it was in every stage that took gradients."""
    flags = dict.fromkeys(flag for f in findings for flag in f.flags)
    if any(f.backward and "flat-gradient" not in f.flags for f in findings):
        flags.pop("flat-gradient", None)
    return tuple(flags)


def summary(run: Run, table: tuple[Row, ...], probe: tuple[int, int]) -> Summary:
    """The numbers. probe: passes of the probes."""
    n = len(table)
    count = {
        v: sum(row.verdict == v for row in table)
        for v in ("broken", "certified", "unknown", "misclassified", "invalid")
    }
    proven, standing = count["certified"], count["certified"] + count["unknown"]
    read, asked = (
        run.read,
        sum(row.clean_label is not None or row.verdict in ("invalid", "misclassified") for row in table),
    )
    low, high = clopper_pearson(proven, n), clopper_pearson(standing, n)
    return Summary(
        examples=n,
        clean=read / max(asked, 1),
        clean_asked=asked,
        certified=proven / n,
        attacked=standing / n,
        broken=count["broken"],
        certified_count=proven,
        unknown=count["unknown"],
        misclassified=count["misclassified"],
        invalid=count["invalid"],
        clean_interval=clopper_pearson(read, asked),
        certified_interval=low,
        attacked_interval=high,
        population=Interval(low=low.low, high=high.high, level=low.level),
        forward=sum(b.forward for b in run.done.values()) + probe[0],
        backward=sum(b.backward for b in run.done.values()) + probe[1],
        seconds=sum(b.seconds for b in run.done.values()),
        judged_misses=sum(b.judged_misses for b in run.done.values()),
    )


def stages(run: Run, probe: tuple[int, int]) -> tuple[Stage, ...]:
    """What each stage did at each size, in the order it ran, the probes first."""
    out = [
        Stage(
            name="probes",
            kind="probe",
            spec="probes",
            asked=0,
            decided=0,
            forward=probe[0],
            backward=probe[1],
            seconds=0.0,
        )
    ]
    for eps, number in dict.fromkeys((b.eps, b.stage) for b in run.done.values()):
        batches = [b for b in run.done.values() if (b.eps, b.stage) == (eps, number)]
        made = [f for known in run.known.values() for f in known if (f.eps, f.stage) == (eps, number)]
        plan = None if number == CLEAN else _plan_stage(run, number)
        out.append(
            Stage(
                name="clean" if plan is None else "cross-check" if number == CROSS_CHECK else plan.spec.name,
                kind="clean" if plan is None else plan.kind,
                spec="the unperturbed examples" if plan is None else str(plan.spec),
                eps=None if plan is None else eps,
                asked=sum(b.asked for b in batches),
                decided=sum(f.outcome != "open" for f in made),
                forward=sum(b.forward for b in batches),
                backward=sum(b.backward for b in batches),
                seconds=sum(b.seconds for b in batches),
            )
        )
    return tuple(out)


def _plan_stage(run: Run, number: int) -> PlanStage:
    if number == CROSS_CHECK:
        return next(s for s in run.stages if s.kind == "attack")
    return run.stages[number // 2]


def sweep(run: Run) -> tuple[SweepPoint, ...]:
    """The bracket at each size, smallest first; empty for a single size."""
    if len(run.sizes) == 1:
        return ()
    out = []
    for eps in sorted(run.sizes):
        verdicts = [verdict(run.known.get(i, []), eps, strict=False)[0] for i in range(run.count)]
        at = bracket(run, eps, strict=False)
        spent = [b for b in run.done.values() if b.eps == eps and b.stage != CLEAN]
        out.append(
            SweepPoint(
                eps=eps,
                clean=at.clean,
                certified=at.certified,
                attacked=at.attacked,
                broken=verdicts.count("broken"),
                certified_count=verdicts.count("certified"),
                unknown=verdicts.count("unknown"),
                forward=sum(b.forward for b in spent),
                backward=sum(b.backward for b in spent),
            )
        )
    return tuple(out)
