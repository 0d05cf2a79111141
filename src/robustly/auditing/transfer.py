"""The transfer matrix: what is found on each model, asked of every model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robustly.adapters.border import check_pair
from robustly.adapters.data import Data, load_data
from robustly.adapters.models import load_model
from robustly.auditing.judge import judge
from robustly.auditing.problem import Problem, turned
from robustly.auditing.single import refuse_misfit
from robustly.auditing.statistics import clopper_pearson
from robustly.core.errors import UsageError
from robustly.core.records import DataFacts, ModelFacts
from robustly.core.rows import Batch, slices, take
from robustly.core.specs import build
from robustly.core.transfers import Cell, Transfer
from robustly.goals import Goal
from robustly.oracle import Access, Ledger, Model, door, smoothing_of
from robustly.steps import Attack, Case
from robustly.threats import Threat, as_threat
from robustly.threats.base import Domain

BATCH = 256
"""Examples attacked at once."""


def transfer_matrix(
    models: Sequence[Any],
    data: Any,
    threat: Threat | str,
    attack: Attack | str = "mifgsm",
    *,
    seed: int = 0,
    range: tuple[float, float] | None = None,
    device: str | None = None,
    trust_pickle: bool = False,
    layout: str | None = None,
    told: Callable[[str], None] | None = None,
) -> Transfer:
    """Attack each model, and ask every model about what was found: does a point that fools one fool another?

    Of each example the attack's deepest point counts: inside the set, and of the lowest margin on the model attacked. Only
    examples that both models read rightly when unperturbed count, so that no model is credited with another's mistakes; an
    example on which the attack found nothing counts as not transferred. Every hit is the judge's.

    Args:
        models: as `audit` takes them, at least one, all of one range; those without gradients can be asked but not
            attacked by an attack that needs them.
        data: as `audit` takes them.
        threat: a threat, or its text.
        attack: an attack, or its name.
        seed: of the attack's random draws; an example draws the same on every model.
        range: lowest and highest input value.
        device: where to compute.
        trust_pickle: run code from model files that need it.
        layout: "chw" or "hwc", as in `audit`.
        told: called with a line after each model.

    Raises:
        UsageError: no models, models of different ranges, an attack that can't walk in the threat's sets, or whatever
            `audit` refuses.
        AccessError: the attack needs more access than a model gives.
    """
    if not models:
        raise UsageError(
            "a transfer matrix wants at least one model, better two: transfer_matrix([a, b], data, threat)."
        )
    made = build("attack", attack, {}) if isinstance(attack, str) else attack
    examples = load_data(data, range=range, layout=layout)
    threat = turned(as_threat(threat), examples)
    loaded = []
    for source in models:
        model = load_model(source, range=range, device=device, trust_pickle=trust_pickle)
        loaded.append(check_pair(model, examples))
    opened = [checked.model for checked in loaded]
    _refuse_ranges(opened)
    right = torch.stack([_reads(model, examples) for model in opened])
    forward = [checked.forward + len(examples) for checked in loaded]
    backward = [checked.backward for checked in loaded]
    cells: list[Cell] = []
    for place, model in enumerate(opened):
        rows, points, spent = _found(made, model, examples, right[place], threat, seed)
        forward[place] += spent[0]
        backward[place] += spent[1]
        broken = torch.zeros(len(opened), len(examples), dtype=torch.bool)
        broken[place, rows] = True
        for other, target in enumerate(opened):
            if other == place:
                continue
            asked = rows[right[other][rows]]
            broken[other, asked] = _judged(target, examples, threat, asked, take(points, _where(rows, asked)))
            forward[other] += len(asked)
        had = torch.zeros(len(examples), dtype=torch.bool)
        had[rows] = True
        cells += [_cell(place, other, right, had, broken[other]) for other, _ in enumerate(opened)]
        if told:
            told(f"{model.name}: {len(rows)} of {int(right[place].sum())} broken")
    return Transfer(
        models=tuple(_facts(model, source) for model, source in zip(opened, models, strict=True)),
        clean=tuple(right.double().mean(1).tolist()),
        data=_about(examples),
        threat=str(threat),
        attack=str(getattr(made, "spec", None) or getattr(made, "__name__", "attack")),
        seed=seed,
        cells=tuple(cells),
        forward=tuple(forward),
        backward=tuple(backward),
        notes=tuple(dict.fromkeys(w for checked in loaded for w in checked.warnings)),
    )


def _refuse_ranges(models: Sequence[Model]) -> None:
    ranges = {model.domain for model in models}
    if len(ranges - {Domain()}) > 1:
        told = ", ".join(f"{model.name} {model.domain}" for model in models)
        raise UsageError(f"the models take inputs of different ranges ({told}): a point of one is none of another.")


def _reads(model: Model, data: Data) -> Tensor:
    """Bool (N,): the model reads the unperturbed example as labelled; ties and what is not finite are wrong."""
    out = []
    for part in slices(len(data), BATCH):
        answer = model.ask_all(_placed(data.x[part], model))
        goal = Goal(data.y[part].to(model.device))
        out.append(~(goal.met_by_labels(answer) if model.access == Access.LABELS else goal.met(answer)).cpu())
    return torch.cat(out)


def _found(
    attack: Attack, model: Model, data: Data, right: Tensor, threat: Threat, seed: int
) -> tuple[Tensor, Batch, tuple[int, int]]:
    """Of the examples read rightly: those the attack broke (R,), the deepest point of each, and the passes spent."""
    own = right.nonzero().squeeze(1)
    rows, points, forward, backward = [], [], 0, 0
    purpose = str(getattr(attack, "spec", "attack"))
    problem = Problem(model, model, data.x, data.y, data.ids, threat, seed)
    for part in slices(len(own), BATCH):
        index = own[part]
        x = _placed(take(data.x, index), model)
        around, goal = threat.at(x, model.domain), Goal(data.y[index].to(model.device))
        refuse_misfit(attack, model, around, str(threat))
        ledger = Ledger(x, model.device, deepest=True)
        oracle = door(model)(model, around, goal, press_on=True, ledger=ledger)
        attack(Case(around, goal, problem.keys(index, purpose).to(model.device), oracle))
        hit = ledger.hit.nonzero().squeeze(1)
        good = judge(model, around.take(hit), goal.take(hit), take(ledger.point, hit)).holds if len(hit) else hit.bool()
        hit = hit[good]
        rows.append(index[hit.cpu()])
        points.append(take(ledger.point, hit))
        forward += int(ledger.forward.sum()) + len(good)
        backward += int(ledger.backward.sum())
    if not rows:
        return own, take(data.x, own), (0, 0)
    joined = (
        torch.cat([p.cpu() for p in points if isinstance(p, Tensor)]) if isinstance(data.x, Tensor) else _texts(points)
    )
    return torch.cat(rows), joined, (forward, backward)


def _texts(parts: Sequence[Batch]) -> tuple[str, ...]:
    return tuple(text for part in parts for text in part if isinstance(text, str))


def _judged(model: Model, data: Data, threat: Threat, index: Tensor, points: Batch) -> Tensor:
    """Bool (R,): the points of the examples at `index` lie in their sets and break the model."""
    out = [torch.zeros(0, dtype=torch.bool)]
    for part in slices(len(index), BATCH):
        some = index[part]
        around = threat.at(_placed(take(data.x, some), model), model.domain)
        goal = Goal(data.y[some].to(model.device))
        out.append(judge(model, around, goal, _placed(points[part], model)).holds.cpu())
    return torch.cat(out)


def _where(rows: Tensor, some: Tensor) -> Tensor:
    """The places of `some` in the rising numbers `rows`."""
    return torch.searchsorted(rows, some)


def _placed(x: Any, model: Model) -> Any:
    return x.to(model.device) if isinstance(x, Tensor) else x


def _cell(source: int, target: int, right: Tensor, had: Tensor, broken: Tensor) -> Cell:
    counts = right[source] & right[target]
    counted, found, hits = (int(part.sum()) for part in (counts, counts & had, counts & broken))
    return Cell(
        source=source,
        target=target,
        counted=counted,
        found=found,
        transferred=hits,
        rate=hits / counted if counted else None,
        given_found=hits / found if found else None,
        interval=clopper_pearson(hits, counted),
        bits=tuple(bool(b) if c else None for b, c in zip(broken.tolist(), counts.tolist(), strict=True)),
    )


def _facts(model: Model, source: Any) -> ModelFacts:
    return ModelFacts(
        name=model.name,
        digest=model.digest,
        access=model.access.name.lower(),
        domain=(model.domain.low, model.domain.high),
        classes=model.classes,
        device=str(model.device),
        source=source if isinstance(source, str) else None,
        weights=None,
        smoothed=None if (votes := smoothing_of(model)) is None else str(votes.noise),
    )


def _about(data: Data) -> DataFacts:
    return DataFacts(
        name=data.name,
        digest=data.digest,
        count=len(data),
        shape=data.shape,
        kind=data.kind,
        classes=data.classes,
        source=data.source,
    )
