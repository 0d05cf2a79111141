"""What an audit runs, in which order: named plans as TOML files, or your own.

    description = "one line"
    not_tested = ["sentences for the record"]
    [[stage]]
    certifier = "interval"
    [[stage]]
    attack = "apgd"
    steps = 20
    loss = "margin"
    [[stage]]
    attack = "square"
    queries = 1000
    probe = 100        # first on 100 undecided examples chosen at random; on the rest only if one of them breaks

Stages run in order, each on what is still undecided. Stages that need more access than is granted, or cannot walk in the
threat's set, are left out and said so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from robustly.core.errors import UsageError, nearest
from robustly.core.specs import Entry, Spec, from_table, lookup
from robustly.oracle import Access, Model
from robustly.threats.base import Finite, PerturbationSet

NAMES = ("quick", "fast", "standard")


@dataclass(frozen=True)
class PlanStage:
    """One attack or certifier. probe: None for all undecided, else how many random ones it is tried on first."""

    kind: Literal["attack", "certify"]
    make: Any
    probe: int | None = None

    @property
    def spec(self) -> Spec:
        """How its attack or certifier was made."""
        return self.make.spec

    def __str__(self) -> str:
        return f"{self.spec}" + (f" on {self.probe} at first" if self.probe else "")


@dataclass(frozen=True)
class Plan:
    """Stages in order. not_tested: what this plan leaves out, as sentences."""

    name: str
    stages: tuple[PlanStage, ...]
    description: str = ""
    not_tested: tuple[str, ...] = ()


def load_plan(source: str | Path | Plan | Sequence[Any]) -> Plan:
    """A plan by name, from a TOML file, or from a list of attacks and certifiers.

    Raises:
        UsageError: no such plan, unreadable TOML, an unknown key or name (with the nearest known one).
    """
    if isinstance(source, Plan):
        return source
    if not isinstance(source, (str, Path)):
        return _of_objects(list(source) if isinstance(source, Sequence) else [source])
    if source in NAMES:
        text = resources.files("robustly.auditing").joinpath(f"plans/{source}.toml").read_text("utf-8")
        return read_plan(text, str(source))
    path = Path(source)
    if path.suffix != ".toml":
        raise UsageError(f'unknown plan "{source}".{nearest(str(source), NAMES)} Or give a .toml file.')
    if not path.is_file():
        raise UsageError(f"no plan file at {path}.")
    return read_plan(path.read_text("utf-8"), path.name)


def read_plan(text: str, name: str) -> Plan:
    """A plan from TOML text.

    Raises:
        UsageError: as `load_plan`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"plan {name} is not valid TOML: {error}.") from None
    known = ("description", "not_tested", "stage")
    for key in table:
        if key not in known:
            raise UsageError(f'plan {name} has an unknown key "{key}".{nearest(key, known)}')
    stages = tuple(_stage(entry, f"stage {i + 1} of plan {name}") for i, entry in enumerate(table.get("stage", [])))
    if not stages:
        raise UsageError(f"plan {name} has no [[stage]].")
    return Plan(name, stages, str(table.get("description", "")), tuple(table.get("not_tested", ())))


def fitting(plan: Plan, model: Model, around: PerturbationSet, random: bool) -> tuple[tuple[PlanStage, ...], list[str]]:
    """The stages that can run here, and a sentence for each that can't.

    Raises:
        UsageError: none is left.
    """
    kept, left_out = [], []
    for stage in plan.stages:
        reason = _misfit(stage, model, around, random)
        if reason is None:
            kept.append(stage)
        elif reason:
            left_out.append(f"{stage.spec} was left out: {reason}")
    if not kept:
        remedy = "; ".join(left_out) or f"its attacks are for other inputs than a {type(around).__name__}"
        raise UsageError(f"plan {plan.name} has nothing that can run here: {remedy}.")
    return tuple(kept), left_out


def _misfit(stage: PlanStage, model: Model, around: PerturbationSet, random: bool) -> str | None:
    """Why a stage can't run; "" for one that is for other kinds of input altogether, None for one that can."""
    if stage.kind == "certify" and isinstance(around, Finite):
        return ""
    if stage.kind == "certify":
        if random:
            return "the model is random, and a certificate would be about one draw of it"
        return None if model.module is not None else "there is no network to bound behind this model"
    for leaf in stage.spec.leaves():
        entry = lookup("attack", leaf.name)
        if entry.sets != ("PerturbationSet",) and isinstance(around, Finite) != ("Finite" in entry.sets):
            return ""
        if model.access < Access[entry.needs.upper()]:
            return f"{leaf.name} needs {entry.needs}, the model grants {model.access.name.lower()}"
        if not _walks(entry, around):
            return f"{leaf.name} cannot walk in a {type(around).__name__}"
    return None


def _walks(entry: Entry, around: PerturbationSet) -> bool:
    """Can the attack walk in this set, and in the ball within, where it is a grid or the first of two?"""
    inner = getattr(around, "ball", None) or getattr(around, "first", None)
    fits = any(c.__name__ in entry.sets for c in type(around).__mro__)
    return fits and (inner is None or not {"GridSet", "BothSet"} & set(entry.sets) or _walks(entry, inner))


def _stage(table: Mapping[str, Any], what: str) -> PlanStage:
    probe = table.get("probe")
    if probe is not None and (not isinstance(probe, int) or probe < 1):
        raise UsageError(f"{what}: probe is a whole number of examples, got {probe!r}.")
    inner = {k: v for k, v in table.items() if k != "probe"}
    if not {"attack", "certifier"} & set(inner):
        raise UsageError(
            f'{what} needs attack = "NAME" or certifier = "NAME"; its keys are {", ".join(sorted(table))}.'
        )
    return PlanStage("certify" if "certifier" in inner else "attack", from_table(inner, what), probe)


def _of_objects(made: list[Any]) -> Plan:
    for one in made:
        if not isinstance(getattr(one, "spec", None), Spec) or one.spec.kind not in ("attack", "certifier"):
            raise UsageError(f"a plan is a name, a .toml file, or a list of attacks and certifiers; got {one!r}.")
    stages = tuple(PlanStage("certify" if m.spec.kind == "certifier" else "attack", m) for m in made)
    if not stages:
        raise UsageError("an empty plan: give at least one attack or certifier.")
    return Plan("own", stages)
