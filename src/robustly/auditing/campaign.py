"""An audit of a model behind a wire: how far it is, what it cost, and whether it was cut short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from robustly.auditing.findings import Finding, unheard
from robustly.auditing.problem import Problem
from robustly.auditing.progress import Campaign
from robustly.core.records import EndpointFacts, Verdict
from robustly.oracle import Ledger, Model

if TYPE_CHECKING:
    from robustly.adapters.endpoint.asking import Asking


def asking_of(model: Model) -> Asking | None:
    """The endpoint behind a model, if there is one."""
    if model.remote is None:
        return None
    from robustly.adapters.endpoint.asking import Asking  # its packages are an extra

    return model.remote if isinstance(model.remote, Asking) else None


def cut_short(problem: Problem, findings: Iterable[Finding]) -> str | None:
    """Why the whole campaign ends, where some of these findings say that it did; one example's budget ends nothing."""
    asking = asking_of(problem.model)
    ended = "" if asking is None else asking.ended
    return ended if ended and any(unheard(f) and f.why == ended for f in findings) else None


def progress_of(
    model: Model, known: Mapping[int, Sequence[Finding]], verdicts: Sequence[Verdict], ledger: Ledger | None
) -> Campaign | None:
    """The state of a campaign. ledger: of the batch in flight."""
    asking = asking_of(model)
    if asking is None:
        return None
    broken = [known[i] for i, verdict in enumerate(verdicts) if verdict == "broken"]
    near = [min((f.distance for f in own if f.distance is not None), default=None) for own in broken]
    distances = [distance for distance in near if distance is not None]
    count = len(broken)
    if ledger is not None:
        count += int(ledger.hit.sum())
        distances += ledger.distance[ledger.hit].tolist()
    bill = asking.bill
    return Campaign(bill.sent, bill.left, bill.spend, bill.currency, count, median(distances) if distances else None)


def facts_of(model: Model, settings: str | None) -> EndpointFacts | None:
    """What the record says of the endpoint. settings: the file they stand in."""
    asking = asking_of(model)
    if asking is None:
        return None
    bill, limits = asking.bill, asking.settings.limits
    return EndpointFacts(
        url=asking.settings.shown_url,
        digest=asking.identity,
        settings=settings,
        carries=asking.wire.told,
        random=bool(asking.random),
        queries=bill.sent,
        retries=bill.retries,
        checks=bill.checks,
        cached=bill.cached,
        budget=limits.budget,
        queries_each=limits.queries,
        spend=bill.spend,
        currency=bill.currency,
        changed=asking.changed or None,
        stopped=asking.ended or None,
    )
