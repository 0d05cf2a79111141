"""The main job: from a model and its data to a verdict for every example."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robustly.adapters.border import check_eps, check_pair, in_range, shielded
from robustly.adapters.data import Data, load_data
from robustly.adapters.endpoint import endpoint as endpoint_model
from robustly.adapters.endpoint import is_address
from robustly.adapters.models import load_model
from robustly.adapters.twin import EXACT, fast_twin
from robustly.auditing.campaign import asking_of
from robustly.auditing.others import with_others
from robustly.auditing.plan import Plan, fitting, load_plan, with_surrogates
from robustly.auditing.problem import Problem, one_size, turned
from robustly.auditing.progress import Watcher
from robustly.auditing.recording import Source, recorded
from robustly.auditing.run import Limits, Run, execute, tick
from robustly.auditing.searching import AUTO, NONE, tried
from robustly.auditing.store import Store, compare_request
from robustly.auditing.votes import over_all, told
from robustly.core.errors import Contradiction, RobustlyError, UsageError
from robustly.core.points import write_atomically
from robustly.core.records import Record
from robustly.core.rows import Batch, cut, device_of, slices
from robustly.defend.smoothed import smooth as smoothed_by
from robustly.goals import Goal
from robustly.oracle import Access, Model, smoothing_of
from robustly.oracle.smoothing import refuse_scale
from robustly.soundness.probes import PROBED, probe
from robustly.steps.noises import NOISES, parse_noise
from robustly.threats import PerturbationSet, Threat, as_threat, eps_of, with_eps

if TYPE_CHECKING:
    from robustly.adapters.endpoint.asking import Asking

ANSWERS = "answers.sqlite"
"""What an endpoint answered, in the run folder."""
BATCH_NUMBERS = 2**23
"""Most input numbers in a batch when its size is left to us: 32 MB of float32."""
USUAL = {"votes": "smoothed", "trees": "trees", "masks": "patches", "bands": "patches"}
"""Plans for models of a structure."""
VOTED = 16
"""Most examples in a batch of a smoothed model, each of which takes thousands of passes."""


def audit(
    model: Any,
    data: Any,
    threat: Threat | str,
    plan: str | Path | Plan | Sequence[Any] | None = None,
    *,
    seed: int = 0,
    eps: Sequence[float] = (),
    out: str | Path | None = None,
    limit: int | None = None,
    time: float | None = None,
    until: float | None = None,
    batch: int | str = "auto",
    device: str | None = None,
    range: tuple[float, float] | None = None,
    access: str | None = None,
    classes: int | None = None,
    names: Sequence[str] = (),
    weights: str | Path | None = None,
    trust_pickle: bool = False,
    twin: str | None = None,
    surrogates: Sequence[Any] = (),
    endpoint: str | Path | None = None,
    smooth: float | str | None = None,
    layout: str | None = None,
    watch: Watcher | None = None,
    command: str | None = None,
) -> Record:
    """Audit a model on data under a threat; returns the record, whose rows hold a verdict for every example.

    model: an nn.Module in eval mode, a callable from a batch to scores (B, K), a `Model`, or a source such as
        "zoo:fashion_plain", "net.py:build", "net.onnx".
    data: (x, y), with x float (N, ...) or N texts and y the N labels, or a source such as "zoo:fashion", "test.npz".
    threat: Linf(8 / 255), "linf:8/255", ...; eps in input units, before any normalisation.
    plan: "quick", "fast", "standard", a .toml file, or a list of attacks and certifiers; by default "fast", and "blackbox"
        for a model that gives no gradients, "trees" for ensembles of trees, "smoothed" for smoothed models. Attacks on labels alone that take a `pool` and were given none may set out from
        up to 100 of the data's own inputs.
    eps: further sizes, for the curve of robust accuracy; verdicts are carried over from one to the other.
    out: run folder; None keeps the run in memory. An interrupted run in a folder goes on where it was.
    limit: only the first N examples. time: stop after so many seconds. until: stop when the bracket is so narrow.
    batch: examples a commit. device: where to compute; None is where the module lies. range: of inputs, if it isn't to be detected. names: of the classes, in the order of the model's scores. access: grant no more than "labels" or "scores".
    twin: search on a fast copy of the network ("folded", "channels-last", "bf16"), or on the network itself ("none"); by default
        as the plan says, which for "fast" is a short trial. The judge always asks the original.
    surrogates: further models of the same inputs and classes; what breaks them is tried on this one at the end of the plan.
    endpoint: the settings of a model that is an address, "https://...": see `robustly.endpoint`. Its answers are kept in the
        run folder; an interrupted run pays none of them again.
    smooth: audit the smoothed classifier of the model, under noise of this sigma, such as 0.25 or "laplace:0.25": the same
        as giving `robustly.smooth(model, sigma)` as the model. Its plan is "smoothed" by default.
    layout: "chw" or "hwc", where the channels of images are; told by the shape where it isn't said. The model is given them
        first, and so the record keeps them; see `takes_hwc` for a model that wants them last.
    watch: called with a `Snapshot` as the run goes.

    Raises:
        UsageError: any of it is wrong; the message names the value and the remedy.
        Contradiction: an example was broken and certified.
        RunError: storage failed.
    """
    limits = _limits(time, until)
    chosen = None if plan is None else load_plan(plan)
    examples = load_data(data, limit=limit, range=range, classes=names, layout=layout)
    threat = turned(as_threat(threat), examples)
    loaded = load_model(
        _named(model, endpoint),
        weights=weights,
        range=range,
        access=access,
        classes=classes,
        device=device,
        trust_pickle=trust_pickle,
    )
    if smooth is not None:
        loaded = smoothed_model(loaded, smooth)
    others = [
        in_range(load_model(s, range=range, device=device, trust_pickle=trust_pickle), examples) for s in surrogates
    ]
    usual = "fast" if loaded.access == Access.GRADIENTS else "blackbox"
    usual = usual if loaded.structure is None else USUAL.get(loaded.structure.kind, usual)
    stages = with_surrogates(chosen or load_plan(usual), others)
    source = Source(
        str(model) if isinstance(model, (str, Path)) else None,
        str(weights) if weights else None,
        str(endpoint) if endpoint else None,
    )
    store = Store(Path(out) if out else None)
    asking = asking_of(loaded)
    try:
        if asking is not None and out:
            asking.store_in(Path(out) / ANSWERS)
        return _audit(
            store, loaded, examples, threat, stages, limits, seed, tuple(eps), batch, twin, watch, command, source
        )
    finally:
        store.close()
        if asking is not None and asking.keep:
            asking.close()


def smoothed_model(model: Model, text: float | str) -> Model:
    """The smoothed classifier under the noise of a text; see `parse_noise`."""
    noise = parse_noise(text)
    return smoothed_by(model, noise.sigma, noise=NOISES[noise.name])


def _named(model: Any, settings: str | Path | None) -> Any:
    """The model that an address and its settings name; any other as it is."""
    if is_address(model):
        return endpoint_model(settings, url=model)
    if settings is not None:
        raise UsageError("endpoint settings are for a model that is an address: write https://... as the model.")
    return model


def _audit(
    store: Store,
    model: Model,
    data: Data,
    threat: Threat,
    plan: Plan,
    limits: Limits,
    seed: int,
    sizes: tuple[float, ...],
    batch: int | str,
    twin: str | None,
    watch: Watcher | None,
    command: str | None,
    source: Source,
) -> Record:
    model = in_range(model, data)
    refuse_scale(model)
    x = data.x.to(model.device) if isinstance(data.x, Tensor) else data.x
    y = data.y.to(device_of(x))
    main = eps_of(threat)
    wanted = tuple(dict.fromkeys([main, *sorted(sizes)]))
    size = _batch(batch, data, VOTED if smoothing_of(model) else 256)
    request = {
        "model": model.digest,
        "data": data.digest,
        "threat": one_size(threat, x),
        "sizes": list(sizes),
        "plan": [stage.identity for stage in plan.stages],
        "seed": seed,
        "batch": size,
        "access": model.access.name.lower(),
        "range": str(model.domain),
        "twin": twin or plan.twin,
        "device": str(model.device),
    }
    _refuse_misfits(threat, wanted, x, model)
    torn = _resumed(store, request)
    few = slice(0, PROBED)
    around = threat.at(cut(x, few), model.domain)
    try:
        model, facts = _met(store, model, data, threat, around, Goal(y[few]))
    except RobustlyError:
        if store.fact("met") is None:
            store.forget_fact("request")  # nothing was learnt: the folder is free for what is asked rightly
        raise
    stages, left_out = fitting(plan, model, around, facts["random"])
    stages = with_others(over_all(stages, len(y)), x, seed)
    kind, exact, notes = _search_on(store, model, x, plan, twin, facts)
    search = fast_twin(model, kind) if kind else model
    precise = None if exact is None else search if exact == kind else fast_twin(model, exact)
    facts = {**facts, "notes": [*facts["notes"], *notes, *told(model, stages)]}
    problem = Problem(model, search, x, y, data.ids, threat, seed, facts["random"], precise)
    run = Run(problem, stages, wanted, store, size, limits, watch, left_out=left_out)
    asking = asking_of(model)
    _reopen(store, asking)
    why, contradiction = None, None
    try:
        with _float32(model.device):
            why = _executed(run, asking)
    except Contradiction as found:
        contradiction = found
    record = recorded(run, plan, data, facts, why, contradiction, torn, command, source)
    if store.folder:
        write_atomically(store.folder / "record.json", record.to_json().encode())
    if contradiction:
        raise contradiction
    return record.with_points(store.folder, store.points)


def _reopen(store: Store, asking: Asking | None) -> None:
    """Where a campaign was cut short, or may spend more than before, what lacked answers is searched again; all that was
    answered is known."""
    if asking is None:
        return
    limits = [asking.settings.limits.queries, asking.settings.limits.budget]
    if store.fact("cut") or store.fact("limits") not in (None, limits):
        store.forget_cut()
    store.keep_fact("limits", limits)


def _executed(run: Run, asking: Asking | None) -> str | None:
    """Why the run ended early, if it did."""
    if asking is None:
        return execute(run)
    asking.watch = partial(tick, run, 0, 0)
    try:
        why = execute(run) or run.cut
        asking.watch = None
        asking.check()
    finally:
        asking.watch = None
    if asking.changed and asking.settings.check.on_change == "stop":
        why = why or asking.changed
    run.store.keep_fact("cut", bool(run.cut))
    return why


def _refuse_misfits(threat: Threat, sizes: tuple[float, ...], x: Batch, model: Model) -> None:
    """Refuse, before any pass is spent, inputs that the threat cannot stand around and sizes it cannot have."""
    for part in slices(len(x), 1024):
        threat.at(cut(x, part), model.domain)
    for eps in sizes:
        if not 0 <= eps < float("inf"):
            least = (
                " For the least distance run one attack: robustly attack fmn ... --threat l2:inf." if eps > 0 else ""
            )
            raise UsageError(f"eps of an audit must be finite and >= 0, got {eps:g}.{least}")
        with_eps(threat, eps).at(cut(x, slice(0, 1)), model.domain)


@contextmanager
def _float32(device: torch.device) -> Iterator[None]:
    """On a GPU, convolutions in full float32 rather than TF32, and the same algorithm each time."""
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def _resumed(store: Store, request: dict[str, Any]) -> int:
    """Refuse a folder made with another request; how many torn stages were set aside for recomputation."""
    stored = store.fact("request")
    if stored is None:
        store.keep_fact("request", request)
        return 0
    different = compare_request(stored, request)
    if different:
        raise UsageError(
            f"{store.folder} holds a run with other arguments: {'; '.join(different)}. Use the same ones to go on, or "
            "another folder (--out) to start anew."
        )
    return store.quarantine()


def _met(
    store: Store, model: Model, data: Data, threat: Threat, around: PerturbationSet, goal: Goal
) -> tuple[Model, dict[str, Any]]:
    """The model as checks and probes found it fit, and what they saw; paid once a run, remembered when it is resumed."""
    facts = store.fact("met")
    asking = asking_of(model)
    if asking is not None:
        return _met_afar(store, model, asking, data, threat, around, facts)
    if facts is None:
        checked = check_pair(model, data)
        fit = checked.model
        found = probe(fit, around, goal)
        fit = found.model
        facts = {
            "random": found.random,
            "warnings": [*checked.warnings, *check_eps(threat, data, fit), *found.warnings],
            "notes": [*data.notes, *fit.notes],
            "forward": found.forward + checked.forward,
            "backward": found.backward + checked.backward,
            "access": fit.access.name,
            "chunk": fit.chunk,
            "classes": fit.classes,
            "copied": fit.call is not model.call,
            "network": fit.module is not None,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        store.keep_fact("met", facts)
        return fit, facts
    fit = replace(
        model.granting(Access[facts["access"]]),
        chunk=facts["chunk"],
        classes=facts["classes"],
        call=shielded(model.call) if facts["copied"] else model.call,
        module=model.module if facts["network"] else None,
    )
    return fit, facts


def _met_afar(
    store: Store,
    model: Model,
    asking: Asking,
    data: Data,
    threat: Threat,
    around: PerturbationSet,
    facts: dict[str, Any] | None,
) -> tuple[Model, dict[str, Any]]:
    """The same for a model behind a wire, which needs its first answers again when a run is resumed, and has them."""
    from robustly.auditing.meeting import meet

    met = meet(model, asking, data, around)
    if facts is None:
        facts = {
            "random": met.random,
            "warnings": [*met.warnings, *check_eps(threat, data, met.model)],
            "notes": [*data.notes, *met.notes],
            "forward": met.forward,
            "backward": 0,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        store.keep_fact("met", facts)
    asking.random = facts["random"]  # as the run began, whatever is checked now
    return met.model, facts


def _search_on(
    store: Store, model: Model, x: Batch, plan: Plan, twin: str | None, facts: dict[str, Any]
) -> tuple[str | None, str | None, list[str]]:
    """The kinds of twins to search on, in any precision and in the original's, and what to note; a trial is made once a run,
    and its passes are billed to it."""
    wanted = twin or plan.twin
    if wanted is None or wanted == NONE or (wanted == AUTO and (facts["random"] or not isinstance(x, Tensor))):
        return None, None, []
    if wanted != AUTO:
        return wanted, wanted if wanted in EXACT else None, []
    found = store.fact("trial")
    if found is None:
        assert isinstance(x, Tensor)
        trial = tried(model, x, len(x))
        found = asdict(trial)
        store.keep_fact("trial", found)
    facts["forward"] += found["forward"]
    facts["backward"] += found["backward"]
    return found["twin"], found.get("exact"), [found["note"]] if found["note"] else []


def _limits(seconds: float | None, until: float | None) -> Limits:
    if seconds is not None and not seconds > 0:
        raise UsageError(f"a time limit is above 0 seconds, got {seconds:g}.")
    if until is not None and not 0 <= until <= 1:
        raise UsageError(f"until is a bracket width between 0 and 1, got {until:g}.")
    return Limits(seconds, until)


def _batch(batch: int | str, data: Data, most: int) -> int:
    if batch == "auto":
        each = data.x[0].numel() if isinstance(data.x, Tensor) else 1
        return max(1, min(most, BATCH_NUMBERS // each))
    if not isinstance(batch, int) or batch < 1:
        raise UsageError(f'batch is "auto" or a whole number of examples, got {batch!r}.')
    return batch
