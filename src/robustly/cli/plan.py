"""robustly plan: what an audit would run, in passes and time, without asking the model about anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from robustly.cli import options, values
from robustly.report.escape import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robustly.auditing.estimate import Speed, StageCost


def plan(
    model: options.Model,
    data: options.Data,
    /,
    *,
    threat: options.Threat,
    name: Annotated[
        str, Parameter(name="--plan", group=options.HOW, help="quick, fast, standard or a .toml file.")
    ] = "fast",
    eps: Annotated[
        str | None,
        Parameter(group=options.HOW, allow_leading_hyphen=True, help="Further sizes of a sweep, say 0,0.05,8/255."),
    ] = None,
    limit: options.Limit = None,
    measure: Annotated[
        bool,
        Parameter(
            group=options.HOW,
            help="Time a network that lies on this machine on random inputs; --no-measure asks it nothing at all.",
        ),
    ] = True,
    device: options.Device = "cpu",
    range_: options.Range = None,
    layout: options.Layout = None,
    access: options.Access = None,
    weights: options.Weights = None,
    trust_pickle: options.TrustPickle = False,
    classes: options.Classes = None,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Show what an audit would run and cost at worst; none of your data is sent.

    Passes are counted by running every stage once on one example of a small
    stand-in model that never errs: the worst case. A real audit drops every
    example as soon as it is decided, and mostly costs a fraction of it.
    """
    bounds, more = values.interval(range_), values.sizes(eps)
    class_count, names = values.classes(classes)
    values.one_of(access, ("gradients", "scores", "labels"), "--access")
    values.at_least(limit, 1, "--limit")

    import torch

    from robustly.adapters.data import load_data
    from robustly.adapters.models import load_model
    from robustly.auditing.estimate import estimate, speed
    from robustly.auditing.plan import fitting, load_plan
    from robustly.core.rows import take
    from robustly.report.gate import exit_code
    from robustly.threats import eps_of, parse_threat

    under, loaded_plan = parse_threat(threat), load_plan(name)
    examples = load_data(data, limit=limit, classes=names, range=bounds, layout=layout)
    known = None if examples.kind == "text" else (examples.domain.low, examples.domain.high)
    loaded = load_model(
        model,
        weights=weights,
        range=bounds or known,
        access=access,
        classes=class_count,
        device=device,
        trust_pickle=trust_pickle,
    )
    one = take(examples.x, torch.arange(1))
    stages, left_out = fitting(loaded_plan, loaded, under.at(one, loaded.domain), random=False)
    count = loaded.classes or max(len(examples.classes), int(examples.y.max()) + 1, 2)
    costs = estimate(stages, under, one, count, loaded.domain, loaded.access)
    times = len({eps_of(under), *more})
    here.say(f"{loaded.name} on {len(examples):,} examples of {examples.name} under {under}, plan {loaded_plan.name}")
    here.show(cost_table(costs, len(examples), times))
    at_home = examples.kind != "text" and loaded.remote is None  # questions to an endpoint may cost money
    pace = speed(loaded, examples.shape) if measure and at_home else None
    for line in (*remarks(costs, len(examples), times, pace, left_out, count), *loaded_plan.not_tested):
        here.say(line)
    return exit_code()


def cost_table(costs: Sequence[StageCost], examples: int, sizes: int) -> Table:
    """Passes by stage: of one example, and of all at worst."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("what", overflow="fold")
    for heading in ("forward", "backward", "all, forward", "all, backward"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("", "clean pass", "1", "0", f"{examples:,}", "0")
    for number, cost in enumerate(costs, 1):
        probe = "" if cost.probe is None else f", on {cost.probe} at first"
        least = ">" if cost.capped else ""
        table.add_row(
            str(number),
            Text(visible(f"{cost.spec}{probe}")),
            f"{least}{cost.forward:,}",
            f"{cost.backward:,}",
            f"{least}{examples * sizes * cost.forward:,}",
            f"{examples * sizes * cost.backward:,}",
        )
    forward, backward = totals(costs, examples, sizes)
    each = (1 + sum(c.forward for c in costs), sum(c.backward for c in costs))
    table.add_row("", "at worst", f"{each[0]:,}", f"{each[1]:,}", f"{forward:,}", f"{backward:,}", style="bold")
    return table


def totals(costs: Sequence[StageCost], examples: int, sizes: int) -> tuple[int, int]:
    """Forward and backward passes of all examples at worst, the clean pass included."""
    forward, backward = sum(c.forward for c in costs), sum(c.backward for c in costs)
    return examples * (1 + sizes * forward), examples * sizes * backward


def remarks(
    costs: Sequence[StageCost], examples: int, sizes: int, pace: Speed | None, left_out: Sequence[str], classes: int
) -> list[str]:
    """What must be said beside the table."""
    from robustly.report.words import seconds

    forward, backward = totals(costs, examples, sizes)
    lines = [
        "at worst: nothing is ever decided. An example that is decided costs nothing more.",
        "not counted: some probes, the judge's pass a counterexample, an attack on up to 32 certified examples.",
        f"counted on one example of a stand-in with {classes} classes; none of your data was sent to the model.",
    ]
    if sizes > 1:
        lines.append(
            f"for {sizes} sizes; verdicts are carried from one to the other, so the further ones cost far less."
        )
    if pace is None:
        lines.append("no time is given: the model was not asked anything.")
    else:
        total = forward * pace.forward + backward * pace.backward
        lines.append(
            f"at worst about {seconds(total).replace(chr(0xA0), ' ')}, from a few timed passes of random "
            "inputs on this machine; what the attacks themselves compute comes on top."
        )
    return [*lines, *left_out]
