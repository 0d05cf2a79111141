"""robustly audit: a verdict for every example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from robustly.adapters.endpoint import is_address
from robustly.cli import options, values
from robustly.cli.opening import refuse_others
from robustly.cli.signals import current
from robustly.core.errors import UsageError
from robustly.report.escape import visible

if TYPE_CHECKING:
    from robustly.cli.terminal import Terminal
    from robustly.core.records import EndpointFacts, Record


def audit(
    model: options.Model,
    data: options.Data,
    /,
    *,
    threat: options.Threat,
    plan: Annotated[
        str | None,
        Parameter(
            group=options.HOW,
            help="What is run: quick, fast, standard, plus, rand, deep, blackbox, smoothed or a .toml file; by default fast, "
            "blackbox for an address or with --access scores or labels, smoothed with --smooth. See `robustly plan`.",
        ),
    ] = None,
    eps: Annotated[
        str | None,
        Parameter(
            group=options.HOW,
            allow_leading_hyphen=True,
            help="Further sizes for the curve of robust accuracy, say 0,0.05,8/255; verdicts are reused.",
        ),
    ] = None,
    limit: options.Limit = None,
    time: Annotated[
        str | None, Parameter(group=options.HOW, help="Stop after so long: 60s, 5m, 1h. Run again to go on.")
    ] = None,
    until: Annotated[
        float | None, Parameter(group=options.HOW, help="Stop when the bracket is this narrow, say 0.02.")
    ] = None,
    seed: options.Seed = 0,
    twin: Annotated[
        str | None,
        Parameter(
            group=options.HOW,
            help="Search on a fast copy of the network: auto, folded, channels-last, bf16 or none; by default as the plan says. The judge asks the original.",
        ),
    ] = None,
    surrogate: Annotated[
        tuple[str, ...],
        Parameter(
            group=options.HOW,
            help="Another model of the same inputs and classes; what breaks it is tried on MODEL too. May be repeated.",
        ),
    ] = (),
    endpoint: Annotated[
        str | None,
        Parameter(
            group=options.MODEL,
            help="Settings of a MODEL that is an address: a .toml file that maps requests, answers, secret and budgets.",
        ),
    ] = None,
    smooth: Annotated[
        str | None,
        Parameter(
            group=options.MODEL,
            help="Audit the smoothed classifier of MODEL under noise of this sigma, in input units: 0.25, laplace:0.25 or "
            "uniform:0.25. Verdicts are then about it alone.",
        ),
    ] = None,
    batch: Annotated[str, Parameter(group=options.HOW, help="Examples a batch: auto or a number.")] = "auto",
    device: options.Device = "cpu",
    range_: options.Range = None,
    layout: options.Layout = None,
    access: options.Access = None,
    weights: options.Weights = None,
    trust_pickle: options.TrustPickle = False,
    classes: options.Classes = None,
    out: Annotated[
        str | None,
        Parameter(
            group=options.OUTPUT,
            help="Run folder; runs/MODEL-DATA-THREAT and so on if left out. An interrupted run in it goes on.",
        ),
    ] = None,
    junit: Annotated[
        str | None, Parameter(group=options.OUTPUT, help="Also write JUnit XML to this file, for a CI server.")
    ] = None,
    fail_under: Annotated[
        float | None,
        Parameter(
            group=options.OUTPUT,
            help="Gate: exit 1 unless robust accuracy is at least this, say 0.40, with 95 % confidence.",
        ),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Audit a model: a verdict for every example.

    Certifies what it can, attacks the rest, and has a judge re-run every
    counterexample. Shows the bracket in which robust accuracy lies while it
    tightens, and writes the record, the counterexamples and an HTML report to
    one folder. Killed at any moment and started again with the same words, it
    goes on where it was.
    """
    refuse_private(model)
    folder = Path(
        out or default_folder(model if smooth is None else f"{model}-smooth-{smooth}", data, threat, plan, limit)
    )
    plan = plan or (
        "smoothed" if smooth else "blackbox" if is_address(model) or access in ("scores", "labels") else "fast"
    )
    given_sizes, seconds, bounds, rows = (
        values.sizes(eps),
        values.duration(time),
        values.interval(range_),
        values.batch(batch),
    )
    class_count, names = values.classes(classes)
    values.fraction(fail_under, "--fail-under")
    values.fraction(until, "--until")
    values.one_of(access, ("gradients", "scores", "labels"), "--access")
    values.at_least(limit, 1, "--limit")
    for word, what in ((model, "MODEL"), (data, "DATA"), (str(folder), "--out")):
        values.recordable(word, what)
    refuse_others(folder)
    xml = values.writable(junit, "--junit")
    here.advice = (f"What was committed is kept in {folder}. To go on, run the same command again:", f"  {here.again}")
    if not quiet:
        here.say(f"auditing {model} on {data} under {threat}, plan {plan}; run folder {folder}")

    from robustly.auditing.audit import audit as run
    from robustly.auditing.plan import load_plan
    from robustly.cli.progress import Spending, watching

    stages = load_plan(plan)
    with watching(here, stages, threat, len(set(given_sizes)), seconds, quiet) as watch:
        spending = Spending(watch)
        record = run(
            model,
            data,
            threat,
            stages,
            seed=seed,
            eps=given_sizes,
            out=folder,
            limit=limit,
            time=seconds,
            until=until,
            batch=rows,
            device=device,
            range=bounds,
            layout=layout,
            access=access,
            classes=class_count,
            names=names,
            weights=weights,
            trust_pickle=trust_pickle,
            twin=twin,
            surrogates=surrogate,
            endpoint=endpoint,
            smooth=smooth,
            watch=spending.see,
            command=here.command,
        )
    current.check()
    if quiet:
        for warning in record.warnings:  # the summary, which has them, is not shown
            here.complain(f"warning: {warning}", style="yellow")
    else:
        for line in inputs(record):
            here.say(line)
    if record.status == "complete" and not spending.spent:
        here.say("already complete: nothing was run")
    return finish(here, record, folder, xml, fail_under, until, quiet, verbose)


def finish(
    here: Terminal,
    record: Record,
    folder: Path,
    xml: Path | None,
    fail_under: float | None,
    until: float | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Write the reports, say the result, apply the gate; returns the exit code."""
    from robustly.core.points import write_atomically
    from robustly.oracle.remote import CAMPAIGN
    from robustly.report.gate import exit_code, gate
    from robustly.report.html import write_report
    from robustly.report.junit import junit_xml
    from robustly.report.terminal import summary_table

    page = write_report(folder)
    if xml is not None:
        write_atomically(xml, junit_xml(record).encode())
    if not quiet:
        here.show(summary_table(record))
        here.say("")
    here.say(bracket(record), style="bold")
    if record.model.smoothed is not None:
        here.say(
            f"all of it is about the smoothed classifier ({record.model.smoothed}), and nothing about the model itself"
        )
    if record.endpoint is not None:
        here.say(paid(record.endpoint))
    for note in record.notes if verbose else ():
        here.say(f"note: {note}")
    if record.status == "partial":
        narrow = until is not None and record.summary.attacked - record.summary.certified <= until
        same = "this" if narrow else "the same command again"
        more = "give limits.budget more in the settings of --endpoint and " if record.why_partial == CAMPAIGN else ""
        here.say(f"partial: {record.why_partial}. To go on, {more}run {same}:", style="yellow")
        here.say(f"  {here.again_without('--until') if narrow else here.again}")
    here.say(f"record  {folder / 'record.json'}")
    here.say(f"report  {page}")
    if xml is not None:
        here.say(f"junit   {xml}")
    if fail_under is not None:
        verdict = gate(record, fail_under)
        here.say(f"gate {verdict.outcome}: {verdict.sentence}", style="green" if verdict.outcome == "passed" else "red")
    return exit_code(record, fail_under)


def bracket(record: Record) -> str:
    """The result in one line."""
    s = record.summary
    return (
        f"robust accuracy between {100 * s.certified:.1f} % certified and {100 * s.attacked:.1f} % attacked, "
        f"{s.unknown} undecided; clean {100 * s.clean:.1f} % of {s.examples}"
    )


def paid(endpoint: EndpointFacts) -> str:
    """What the campaign cost, in one line."""
    parts = [f"{endpoint.queries:,} queries"]
    parts += [f"of a budget of {endpoint.budget:,}"] if endpoint.budget is not None else []
    told = " ".join(parts) + f", {endpoint.retries:,} of them retries and {endpoint.checks:,} checks"
    spend = "" if endpoint.spend is None else f"; {endpoint.spend:,.2f} {endpoint.currency}".rstrip() + " spent"
    return f"asked {visible(endpoint.url)}: {told}{spend}"


def refuse_private(model: str) -> None:
    """Refuse an address with what may be a secret in it: the command is written into the record.

    Raises:
        UsageError: it has one.
    """
    if is_address(model) and ("?" in model or "@" in model.split("//", 1)[1].split("/", 1)[0]):
        raise UsageError(
            "the address has a query or a user in it, which may be secret, and the command is recorded: write url into the "
            "settings of --endpoint with {secret} in its place, and give the address up to the question mark as MODEL."
        )


def inputs(record: Record) -> list[str]:
    """How the inputs are read: their range, how it was found, and what was changed; two lines at most."""
    from robustly.report.words import domain

    ranges = [note for note in record.notes if note.startswith(("input range", "no input range"))]
    others = [note for note in record.notes if note not in ranges and not note.startswith("eps is in input units")]
    out = ranges[:1]
    if not ranges and record.data.kind != "text":
        out.append(f"input range {domain(record.model.domain)}, declared by the data")
    if others:
        more = f"; and {len(others) - 2} more, see -v" if len(others) > 2 else ""
        out.append(f"input read: {'; '.join(others[:2])}{more}")
    return out


def default_folder(model: str, data: str, threat: str, plan: str | None = None, limit: int | None = None) -> Path:
    """runs/MODEL-DATA-THREAT in characters that every file system takes, then the plan if one was named, and the limit."""
    words = [_slug(model.split("//", 1)[1] if is_address(model) else _last(model)), _slug(_last(data)), _slug(threat)]
    if plan not in (None, "fast"):
        words.append(_slug(_last(plan)))
    if limit is not None:
        words.append(f"first-{limit}")
    return Path("runs") / "-".join(words)


def _last(source: str) -> str:
    return re.split(r"[/\\]", source.removeprefix("zoo:").rstrip("/\\"))[-1]


def _slug(word: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", word).strip("-.")[:60] or "x"
