"""One stored counterexample, judged again: does it still hold?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from robustly.adapters.endpoint import endpoint, is_address
from robustly.adapters.models import load_model
from robustly.auditing.audit import smoothed_model
from robustly.auditing.judge import Judgement, judge
from robustly.core.errors import UsageError
from robustly.core.points import Pair
from robustly.core.records import Record
from robustly.core.rows import Batch
from robustly.goals import Goal
from robustly.oracle import Access, Model
from robustly.threats import Domain, parse_threat


class Replayed(NamedTuple):
    """What the judge says of a stored counterexample (one row).

    before: what the model says of the unperturbed input now. same_model: is it the audited one, by its hash?
    """

    judgement: Judgement
    before: int | None
    same_model: bool

    @property
    def holds(self) -> bool:
        """It is in the set, and the model errs on it."""
        return bool(self.judgement.holds[0])


def audited_model(
    record: Record,
    source: str | None = None,
    weights: str | Path | None = None,
    device: str = "cpu",
    trust_pickle: bool = False,
) -> Model:
    """The model of a record, or the one given, with the record's range and access.

    weights: None takes those that the record names, unless another model is given.

    Raises:
        UsageError: the record doesn't say where its model came from, it cannot be loaded, or its weights are gone.
    """
    wanted = source or record.model.source
    if wanted is None:
        raise UsageError(
            "the record does not name its model (the audit was run from Python): give MODEL after the example."
        )
    if weights is None and wanted == record.model.source:
        weights = _audited_weights(record)
    low, high = record.model.domain
    domain = Domain(float("-inf") if low is None else low, float("inf") if high is None else high)
    settings = record.endpoint.settings if record.endpoint is not None else None
    if settings is not None and not Path(settings).exists():
        raise UsageError(
            f"the audit asked an endpoint with the settings in {settings}, but that file is gone from here. Run this in the "
            "folder of the audit."
        )
    voted = record.model.smoothed
    model = load_model(
        endpoint(settings, url=wanted) if is_address(wanted) else wanted,
        weights=weights,
        access=record.model.access if voted is None else None,
        classes=record.model.classes,
        device=device,
        trust_pickle=trust_pickle,
    )
    if model.remote is not None:
        model.remote.prepare(domain)
    model = replace(model, domain=domain)
    return model if voted is None else smoothed_model(model, voted)


def _audited_weights(record: Record) -> str | None:
    """The file of weights that the audit was given, if it was given one."""
    path = record.model.weights
    if path is not None and not Path(path).exists():
        raise UsageError(
            f"the audit took the weights of {path}, but that file is gone from here. Run this in the folder of the "
            "audit, or say where they are with --weights."
        )
    return path


def replay(record: Record, index: int, model: Model) -> Replayed:
    """Judge the counterexample of example `index` again, under the record's threat.

    Raises:
        UsageError: that example has none, or the threat has no text form (a mask, a size an example).
        RunError: the stored file is missing or damaged.
        ModelRaised: the model raised.
    """
    pair = record.pair(index)
    row = next(r for r in record.rows if r.index == index)
    clean, adversarial = _batches(pair, model.device)
    around = parse_threat(record.threat).at(clean, model.domain)
    goal = Goal(torch.tensor([row.label], device=model.device))
    random = not torch.equal(torch.nan_to_num(model.ask(adversarial)), torch.nan_to_num(model.ask(adversarial)))
    judgement = judge(model, around, goal, adversarial, random)
    answer = model.ask(clean)
    before = (
        int(answer[0])
        if model.access == Access.LABELS
        else int(answer[0].argmax())
        if answer.isfinite().all()
        else None
    )
    return Replayed(judgement, before, model.digest == record.model.digest)


def _batches(pair: Pair, device: torch.device) -> tuple[Batch, Batch]:
    if isinstance(pair.clean, str) or isinstance(pair.adversarial, str):
        return (str(pair.clean),), (str(pair.adversarial),)
    return tuple(torch.from_numpy(part.copy())[None].to(device) for part in (pair.clean, pair.adversarial))  # type: ignore[return-value]
