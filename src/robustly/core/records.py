"""The record of an audit: frozen, versioned, replayable, and readable without torch.

`record.json` is this module written out; `robustly.core.records.schema()` is its JSON Schema. Floats that are not finite
are written as null, so no NaN token ever reaches a file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from robustly.core.errors import UsageError
from robustly.core.points import Pair, pair_of, read_pair

SCHEMA = 1

Verdict = Literal["misclassified", "broken", "certified", "unknown", "invalid"]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]


class Frozen(BaseModel):
    """Immutable; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(Frozen):
    """One example."""

    index: int = Field(description="position in the data")
    id: str = Field(description="hash of the input and its label: the example's identity and random key")
    label: int = Field(description="true class")
    verdict: Verdict
    by: str | None = Field(None, description="the attack or certifier that decided, with its arguments")
    stage: int | None = Field(None, description="its position in the plan")
    clean_label: int | None = Field(None, description="what the model says of the clean input")
    clean_confidence: Number = Field(None, description="softmax probability of that class")
    clean_margin: Number = Field(None, description="score of the true class minus the best other")
    adversarial_label: int | None = Field(None, description="what the model says of the counterexample")
    adversarial_confidence: Number = None
    adversarial_margin: Number = Field(
        None, description="margin of the goal at the counterexample, re-run by the judge"
    )
    distance: Number = Field(None, description="of the counterexample, in the threat's measure and input units")
    counterexample: str | None = Field(None, description="content hash; the file counterexamples/HASH.safetensors")
    bound: Number = Field(None, description="certified lower bound on the margin, where a certifier was asked")
    best_margin: Number = Field(
        None, description="lowest margin seen; one that meets the goal counts only inside the set"
    )
    broken_at: Number = Field(None, description="smallest eps of the sweep at which it is broken")
    certified_at: Number = Field(None, description="largest eps of the sweep at which it is certified")
    forward: int = Field(0, description="forward passes spent on it")
    backward: int = Field(0, description="backward passes spent on it")
    flags: tuple[str, ...] = Field((), description="tie, non-finite, flat-gradient, judged-miss, ...")
    error: str | None = Field(None, description="what the model raised, for an invalid example")
    why: str | None = Field(None, description="why it is unknown, where a certifier or an endpoint said so")
    queries: int = Field(0, description="queries sent to an endpoint on its account, every retry included")
    broken_after: int | None = Field(
        None, description="forward passes it had taken when the stage that broke it was through"
    )


class Interval(Frozen):
    """A two-sided confidence interval for a population fraction (Clopper & Pearson 1934)."""

    low: float
    high: float
    level: float = 0.95


class Summary(Frozen):
    """The result in numbers. Fractions are of all examples."""

    examples: int
    clean: float = Field(description="read correctly when unperturbed, of those asked")
    clean_asked: int = Field(description="examples whose clean answer is known: all, unless the run is partial")
    certified: float = Field(description="lower end of the bracket: proven")
    attacked: float = Field(description="upper end of the bracket: not broken")
    broken: int
    certified_count: int
    unknown: int
    misclassified: int
    invalid: int
    clean_interval: Interval
    certified_interval: Interval
    attacked_interval: Interval
    population: Interval = Field(description="robust accuracy of the population: low of certified, high of attacked")
    forward: int = Field(description="examples forward through the model, everything included")
    backward: int
    seconds: float
    judged_misses: int = Field(0, description="finds of the search that the judge did not confirm")


class Stage(Frozen):
    """What one stage of the plan did."""

    name: str
    kind: Literal["clean", "attack", "certify", "probe"]
    spec: str
    eps: Number = None
    asked: int = Field(description="examples it was given")
    decided: int = Field(description="examples it decided")
    forward: int
    backward: int
    seconds: float


class SweepPoint(Frozen):
    """The bracket at one eps."""

    eps: float
    clean: float
    certified: float
    attacked: float
    broken: int
    certified_count: int
    unknown: int
    forward: int = Field(description="passes spent on top of the other sizes")
    backward: int


class ModelFacts(Frozen):
    """The audited model."""

    name: str
    digest: str = Field(description="hash of the weights")
    access: str = Field(description="what the attacker was granted: gradients, scores or labels")
    domain: tuple[Number, Number] = Field(description="range of inputs; null is unbounded")
    classes: int | None = None
    device: str = "cpu"
    source: str | None = Field(None, description="the word that names it on the command line")
    weights: str | None = Field(None, description="the weights file given with it")
    smoothed: str | None = Field(None, description="the noise of a smoothed model, of which alone the verdicts are")


class EndpointFacts(Frozen):
    """The endpoint that was asked, without its secret."""

    url: str = Field(description="its address, without what stands behind a question mark")
    digest: str = Field(description="hash of its settings, the secret and the limits left out")
    settings: str | None = Field(None, description="the file they stand in")
    carries: str = Field(description="what a request carries; inputs were judged as they are read from it")
    random: bool = Field(description="the same input got different answers at the start")
    queries: int = Field(description="inputs sent, every retry included")
    retries: int
    checks: int = Field(description="of them to see whether the target is random or has changed")
    cached: int = Field(description="questions answered from the store in the last process, which cost nothing")
    budget: int | None = Field(None, description="most queries in the campaign")
    queries_each: int | None = Field(None, description="most queries an example")
    spend: Number = Field(None, description="price of the queries, where one was given")
    currency: str = ""
    changed: str | None = Field(None, description="how the target was seen to change, if it was")
    stopped: str | None = Field(None, description="why nothing more was asked, if that was so")


class DataFacts(Frozen):
    """The audited examples."""

    name: str
    digest: str
    count: int
    shape: tuple[int, ...] = Field(description="of one input; empty for texts")
    kind: Literal["image", "array", "text"]
    classes: tuple[str, ...] = Field((), description="class names, where known")
    source: str | None = None


class Record(Frozen):
    """An audit, whole."""

    schema_version: int = SCHEMA
    status: Literal["complete", "partial", "contradiction"]
    why_partial: str | None = Field(None, description="the limit that ended it: time, until, signal")
    threat: str
    eps: Number = None
    goal: str = "untargeted"
    plan: str
    plan_stages: tuple[str, ...]
    seed: int
    model: ModelFacts
    data: DataFacts
    endpoint: EndpointFacts | None = Field(None, description="where the model is one behind HTTP")
    summary: Summary
    stages: tuple[Stage, ...]
    sweep: tuple[SweepPoint, ...] = ()
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = Field((), description="what makes the evaluation less believable")
    notes: tuple[str, ...] = Field((), description="what was detected or assumed")
    not_tested: tuple[str, ...] = Field(description="what a reader must not conclude")
    versions: Mapping[str, str]
    machine: str
    command: str | None = Field(None, description="the exact command that makes this record again")
    started: str = Field(description="ISO 8601, informative only")

    _folder: Path | None = PrivateAttr(None)
    _points: Mapping[str, bytes] = PrivateAttr(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """Where the run lies, if on disk."""
        return self._folder

    def with_points(self, folder: Path | None, points: Mapping[str, bytes] | None = None) -> Record:
        """The same record, told where its counterexamples are: a run folder, or their bytes by content hash."""
        out = self.model_copy()
        out._folder, out._points = folder, points or {}
        return out

    def pair(self, index: int) -> Pair:
        """The counterexample of example `index` with its clean input, as numpy arrays or texts.

        Raises:
            UsageError: that example has none.
        """
        row = next((r for r in self.rows if r.index == index), None)
        if row is None or row.counterexample is None:
            verdict = "not in this record" if row is None else f"{row.verdict}: it has no counterexample"
            broken = [r.index for r in self.rows if r.counterexample][:5]
            raise UsageError(f"example {index} is {verdict}. The first broken ones are {broken}.")
        if row.counterexample in self._points:
            return pair_of(self._points[row.counterexample])
        if self._folder is None:
            raise UsageError("this record is not tied to a run folder; open it with read_record(folder).")
        return read_pair(self._folder, row.counterexample)

    def counterexample(self, index: int) -> Any:
        """The counterexample of example `index`: a float32 tensor shaped as one input, or a text.

        Raises:
            UsageError: that example has none.
        """
        point = self.pair(index).adversarial
        if isinstance(point, str):
            return point
        import torch

        return torch.from_numpy(point.copy())

    def to_json(self) -> str:
        """The record as JSON text; stable byte for byte for the same record."""
        return self.model_dump_json(indent=1) + "\n"

    def _repr_html_(self) -> str:
        from robustly.report.notebook import notebook_html

        return notebook_html(self)

    def __repr__(self) -> str:
        return f"<Record: {self}>"

    def __str__(self) -> str:
        s = self.summary
        return (
            f"{self.threat} on {s.examples} examples: clean {s.clean:.1%}, robust accuracy between {s.certified:.1%} certified "
            f"and {s.attacked:.1%} attacked, {s.unknown} undecided ({self.status}; {s.forward} F + {s.backward} B)"
        )


def read_record(folder: Path | str) -> Record:
    """The record of a run folder (or the path of a record.json).

    Raises:
        UsageError: no record there, damaged, or of a newer schema.
    """
    path = Path(folder)
    path = path if path.suffix == ".json" else path / "record.json"
    if not path.exists():
        raise UsageError(f"no record at {path}: the run has not been finished or the path is wrong.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA:
            raise UsageError(
                f"{path} has record schema {version}, this robustly reads up to {SCHEMA}: update robustly."
            )
        return Record.model_validate(raw).with_points(path.parent)
    except (json.JSONDecodeError, ValidationError, AttributeError) as error:
        raise UsageError(
            f"{path} is damaged: {str(error).splitlines()[0]}. Resume the run to write it anew."
        ) from error


def schema() -> dict[str, Any]:
    """The JSON Schema of record.json."""
    return Record.model_json_schema()
