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
threat's set, are left out and said so. Further keys of a stage: nearest = 0.2 asks only the fifth of the undecided
examples that came nearest to being broken, by their lowest margin, but ten at least (nearest = 50, so many);
only = ["l1"] keeps the stage for those norms ("other": for sets that are no norm balls); random = true for models that are
random, false for those that aren't; labels = true keeps it for models that tell labels alone, false for those that tell more; original = true searches in the precision of the user's own model, on no twin of less;
after_hit = true runs the stage only if the one before it broke an example. share = 1 is for certifiers that can tell beforehand
what they cost: the likeliest examples come first, by their lowest margin and
best bound so far (a probe takes those), and all proofs of the stage together
may take as much arithmetic as the attacks at this size have taken, or twice that with share = 2; an example beyond that is left
unknown and says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from robustly.adapters.twin import KINDS
from robustly.certify.types import pricer
from robustly.core.errors import UsageError, nearest
from robustly.core.specs import Entry, Spec, build, from_table, lookup
from robustly.oracle import Access, Model
from robustly.threats.ball import Ball
from robustly.threats.base import Finite, PerturbationSet
from robustly.threats.enumerated import Enumerated
from robustly.threats.parse import NORMS

NAMES = ("quick", "fast", "standard", "plus", "rand", "deep", "blackbox", "smoothed", "trees", "patches")
KEYS = ("probe", "nearest", "share", "only", "random", "labels", "original", "after_hit")
"""What a stage says of itself; its other keys are the arguments of its attack or certifier."""
OTHER = "other"
"""What `only` calls the sets that are no norm balls."""
TWINS = ("auto", "none", *KINDS)
LEAST_FOR_DLR = 4
"""Classes below which the difference of logits ratio isn't defined."""


@dataclass(frozen=True)
class PlanStage:
    """One attack or certifier, and for which examples and models it is.

    probe: how many random undecided examples it is tried on first, None for all at once. nearest: of the undecided only
    those of lowest margin so far, a share below 1 or a number of them, None for all. only: norms, or "other" for sets that are no norm balls; none for all.
    random: for random models, or for those that aren't; None for both. labels: likewise for models that tell labels alone. original: in the precision of the user's own model.
    after_hit: only if the stage before it broke something. share: of the attacks' work that its proofs may take, None for
    all that they want.
    """

    kind: Literal["attack", "certify"]
    make: Any
    probe: int | None = None
    nearest: float | None = None
    only: tuple[str, ...] = ()
    random: bool | None = None
    labels: bool | None = None
    original: bool = False
    after_hit: bool = False
    share: float | None = None

    @property
    def spec(self) -> Spec:
        """How its attack or certifier was made."""
        return self.make.spec

    @property
    def identity(self) -> str:
        """All that it does, as text: what a resumed run must have in common with the one it goes on."""
        marks = ((key, getattr(self, key)) for key in KEYS[3:])
        return " ".join([str(self), *(f"{key}={value}" for key, value in marks if value != getattr(PlanStage, key))])

    def __str__(self) -> str:
        near = f" on the nearest {100 * self.nearest:g} %" if self.nearest and self.nearest < 1 else ""
        near = f" on the nearest {self.nearest:g}" if self.nearest and self.nearest >= 1 else near
        first = f" on {self.probe} at first" if self.probe else ""
        return f"{self.spec}{near}{first}" + (
            f", for {self.share:g} of the attacks' work at most" if self.share else ""
        )


@dataclass(frozen=True)
class Plan:
    """Stages in order. not_tested: what this plan leaves out, as sentences. twin: what the attacks search on: None for the
    model itself, "auto" to let a short trial choose, or a kind of fast twin."""

    name: str
    stages: tuple[PlanStage, ...]
    description: str = ""
    not_tested: tuple[str, ...] = ()
    twin: str | None = None


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
    known = ("description", "not_tested", "twin", "stage")
    for key in table:
        if key not in known:
            raise UsageError(f'plan {name} has an unknown key "{key}".{nearest(key, known)}')
    stages = tuple(_stage(entry, f"stage {i + 1} of plan {name}") for i, entry in enumerate(table.get("stage", [])))
    if not stages:
        raise UsageError(f"plan {name} has no [[stage]].")
    twin = table.get("twin")
    if twin is not None and twin not in TWINS:
        raise UsageError(f"plan {name}: unknown twin {twin!r}.{nearest(str(twin), TWINS)} One of {', '.join(TWINS)}.")
    return Plan(name, stages, str(table.get("description", "")), tuple(table.get("not_tested", ())), twin)


def with_surrogates(plan: Plan, surrogates: Sequence[Model]) -> Plan:
    """The plan with a stage at its end for each surrogate: what is found on it is asked of the model.

    Raises:
        UsageError: a surrogate that gives no gradients.
    """
    found = tuple(
        PlanStage("attack", build("attack", "transferred", {"surrogate": s, "inner": build("attack", "mifgsm", {})}))
        for s in surrogates
    )
    return replace(plan, stages=(*plan.stages, *found))


def fitting(plan: Plan, model: Model, around: PerturbationSet, random: bool) -> tuple[tuple[PlanStage, ...], list[str]]:
    """The stages that can run here, and a sentence for each that can't or that had to be changed.

    Raises:
        UsageError: none is left, or no attack of a plan that has some.
    """
    kept, left_out = [], []
    for stage in plan.stages:
        reason = _misfit(stage, model, around, random)
        if reason is None:
            kept.append(_for_few_classes(stage, model.classes))
            if str(kept[-1]) != str(stage):
                left_out.append(
                    f"{stage.spec}: a model of {model.classes} classes has no difference of logits ratio, so the margin "
                    f"took its place, which is {kept[-1].spec}"
                )
        elif reason:
            left_out.append(f"{stage.spec} was left out: {reason}")
    single = [stage.spec.name for stage in kept if random and stage.kind == "attack" and not pooled(stage.spec)]
    if single:
        left_out.append(
            f"the model is random, and {', '.join(dict.fromkeys(single))} follow single draws of it: the plan rand, or "
            "expected around an attack, follows their mean"
        )
    if not kept:
        remedy = "; ".join(left_out) or f"its attacks are for other inputs than a {type(around).__name__}"
        raise UsageError(f"plan {plan.name} has nothing that can run here: {remedy}.")
    if "attack" not in {s.kind for s in kept} and any(s.kind == "attack" for s in plan.stages):
        why = "; ".join(left_out) or "its attacks are for other sets or inputs"
        raise UsageError(
            f"plan {plan.name} has no attack that can run in a {type(around).__name__}: {why}. Take another plan, such as "
            "fast, or a list of certifiers alone."
        )
    return tuple(kept), left_out


def _misfit(stage: PlanStage, model: Model, around: PerturbationSet, random: bool) -> str | None:
    """Why a stage can't run; "" for one that is for other kinds of input altogether, None for one that can."""
    if stage.only and (norm_of(around) or OTHER) not in stage.only:
        return ""
    if stage.random is not None and stage.random != random:
        return ""
    if stage.labels is not None and stage.labels != (model.access == Access.LABELS):
        return ""
    if stage.kind == "certify":
        return _misfit_of_proof(lookup("certifier", stage.spec.name), model, around, random)
    for leaf in stage.spec.leaves():
        entry = lookup("attack", leaf.name)
        if entry.sets != ("PerturbationSet",) and _other_kind(entry, around):
            return ""
        if model.access < Access[entry.needs.upper()]:
            return f"{leaf.name} needs {entry.needs}, the model grants {model.access.name.lower()}"
        if not walks(entry, around):
            return f"{leaf.name} cannot walk in a {type(around).__name__}"
    return None


def pooled(spec: Spec) -> bool:
    """Does it ask for the mean of several draws, or follow no gradient at all?"""
    return spec.name == "expected" or all(lookup("attack", leaf.name).needs != "gradients" for leaf in spec.leaves())


def _misfit_of_proof(entry: Entry, model: Model, around: PerturbationSet, random: bool) -> str | None:
    if isinstance(around, Finite) or _other_kind(entry, around):
        return ""
    kind = "" if model.structure is None else model.structure.kind
    if entry.needs not in ("gradients", "scores"):
        return None if entry.needs == kind else f"it certifies models by their {entry.needs}, which this one has not"
    if random:
        return "the model is random, and a certificate would be about one draw of it"
    if model.access < Access.SCORES:
        return "a certificate needs scores, the model grants labels"
    network = "Enumerated" in entry.sets or model.module is not None
    return None if network else "there is no network to bound behind this model"


def _other_kind(entry: Entry, around: PerturbationSet) -> bool:
    """Is it for texts, or for sets that are counted off, and this is none, or the reverse?"""
    return any(isinstance(around, kind) != (kind.__name__ in entry.sets) for kind in (Finite, Enumerated))


def norm_of(around: PerturbationSet) -> str:
    """The norm whose ball a set is ("linf", "l2", "l1", "l0"), that under a grid, or of the first of two; "" for others."""
    ball = getattr(around, "ball", None) or getattr(around, "first", None) or around
    return type(ball).__name__.removesuffix("Ball").lower() if isinstance(ball, Ball) else ""


def _for_few_classes(stage: PlanStage, classes: int | None) -> PlanStage:
    """The stage with the margin in place of the difference of logits ratio, where the model has too few classes for it."""
    if classes is None or classes >= LEAST_FOR_DLR or stage.kind == "certify":
        return stage
    changed = _without_dlr(stage.spec)
    if changed == stage.spec or not remade(changed):
        return stage  # the ratio has stand-ins of its own: see `losses.dlr`
    return replace(stage, make=changed.build())


def remade(spec: Spec) -> bool:
    """Can it be made again? Not what holds a model or a function of the user's own, of which a spec has the name alone."""
    known = lookup(spec.kind, spec.name).parameters
    for key, value in spec.args:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Spec) and not remade(one):
                return False
            if isinstance(one, str) and not isinstance(known[key], str):
                return False
    return True


def _without_dlr(spec: Spec) -> Spec:
    def other(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(other(v) for v in value)
        return _without_dlr(value) if isinstance(value, Spec) else value

    if (spec.kind, spec.name) == ("loss", "dlr"):
        return Spec("loss", "margin", ())
    return replace(spec, args=tuple((key, other(value)) for key, value in spec.args))


def walks(entry: Entry, around: PerturbationSet) -> bool:
    """Can the attack walk in this set, and in the ball within, where it is a grid or the first of two?"""
    inner = getattr(around, "ball", None) or getattr(around, "first", None)
    fits = any(c.__name__ in entry.sets for c in type(around).__mro__)
    return fits and (inner is None or not {"GridSet", "BothSet"} & set(entry.sets) or walks(entry, inner))


def _stage(table: Mapping[str, Any], what: str) -> PlanStage:
    if not {"attack", "certifier"} & set(table):
        raise UsageError(
            f'{what} needs attack = "NAME" or certifier = "NAME"; its keys are {", ".join(sorted(table))}.'
        )
    own = {k: v for k, v in table.items() if k in KEYS}
    probe, nearest, only = own.get("probe"), own.get("nearest"), own.get("only", [])
    if probe is not None and not (_number(probe, int) and probe >= 1):
        raise UsageError(f"{what}: probe is a whole number of examples, got {probe!r}.")
    if nearest is not None and not (_number(nearest, int, float) and (0 < nearest < 1 or nearest == nearest // 1 >= 1)):
        raise UsageError(
            f"{what}: nearest is a share of the examples, such as 0.2, or a number of them, got {nearest!r}."
        )
    if not isinstance(only, list) or any(norm not in (*NORMS, OTHER) for norm in only):
        raise UsageError(f"{what}: only is a list out of {', '.join((*NORMS, OTHER))}, got {only!r}.")
    for key in ("random", "labels", "original", "after_hit"):
        if not isinstance(own.get(key, False), bool):
            raise UsageError(f"{what}: {key} is true or false, got {own[key]!r}.")
    made = from_table({k: v for k, v in table.items() if k not in KEYS}, what)
    kind: Literal["attack", "certify"] = "certify" if "certifier" in table else "attack"
    share = own.get("share")
    if share is not None and (not _number(share, int, float) or not 0 < share < float("inf")):
        raise UsageError(f"{what}: share is a number above zero, such as 1, got {share!r}.")
    if share is not None and pricer(made) is None:
        raise UsageError(f"{what}: share is for certifiers that can tell what they cost, which {made.spec.name} can't.")
    flags = (own.get("random"), own.get("labels"), own.get("original", False), own.get("after_hit", False))
    return PlanStage(kind, made, probe, nearest, tuple(only), *flags, share)


def _number(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _of_objects(made: list[Any]) -> Plan:
    for one in made:
        if not isinstance(getattr(one, "spec", None), Spec) or one.spec.kind not in ("attack", "certifier"):
            raise UsageError(f"a plan is a name, a .toml file, or a list of attacks and certifiers; got {one!r}.")
    stages = tuple(PlanStage("certify" if m.spec.kind == "certifier" else "attack", m) for m in made)
    if not stages:
        raise UsageError("an empty plan: give at least one attack or certifier.")
    return Plan("own", stages)
