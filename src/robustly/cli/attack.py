"""robustly attack: one attack by its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from warnings import catch_warnings, simplefilter

from cyclopts import Parameter

from robustly.adapters.endpoint import is_address
from robustly.cli import options, universal, values
from robustly.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from robustly.adapters.data import Data
    from robustly.auditing.single import Result

BATCH = 256
"""Examples a batch when that is left to us."""


def attack(
    name: Annotated[
        str, Parameter(name="ATTACK", group=options.WHAT, help="Its name in `robustly list attacks`, or universal.")
    ],
    model: options.Model,
    data: options.Data,
    /,
    *,
    threat: options.Threat,
    set_: options.Set = [],  # noqa: B006 - cyclopts makes a fresh list
    target: Annotated[
        int | None, Parameter(group=options.HOW, help="The label to reach; any wrong one if left out.")
    ] = None,
    queries: Annotated[
        int | None, Parameter(group=options.HOW, help="Most forward passes an example may cost the attack.")
    ] = None,
    closest: Annotated[
        bool,
        Parameter(
            group=options.HOW, negative="", show_default=False, help="Go on after a success, for the nearest point."
        ),
    ] = False,
    limit: options.Limit = None,
    seed: options.Seed = 0,
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
        Parameter(group=options.OUTPUT, help="Save x_adv, success, distance and more to this .npz file."),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Run one attack by its name, and see what it breaks at what cost.

    Examples that the model gets wrong without any change are left out. Every
    success is confirmed by the judge. `universal` looks for one change that
    fools the model on most of them.
    """
    arguments, bounds, rows = values.settings(set_), values.interval(range_), values.batch(batch)
    class_count, names = values.classes(classes)
    values.one_of(access, ("gradients", "scores", "labels"), "--access")
    values.at_least(queries, 1, "--queries")
    values.at_least(limit, 1, "--limit")
    path = values.writable(out, "--out")
    if path is not None and path.suffix != ".npz":
        raise UsageError(f"--out writes numpy arrays: give it a name that ends in .npz, got {path}.")

    from robustly.adapters.border import check_eps, check_pair
    from robustly.adapters.data import load_data
    from robustly.adapters.models import load_model
    from robustly.auditing.doubts import RANDOM, masked, not_finite
    from robustly.auditing.single import attack as run
    from robustly.core.errors import SoundnessWarning
    from robustly.core.rows import slices, take
    from robustly.core.specs import build
    from robustly.report.gate import exit_code
    from robustly.threats import parse_threat

    if is_address(model):
        raise UsageError(
            "this command keeps no answers, and those of an endpoint may cost money: audit it, with a --plan of this attack "
            "alone, or call robustly.attack from Python with robustly.endpoint(..., keep=FILE)."
        )
    common = name == universal.NAME
    if common:
        given = {"--target": target is not None, "--queries": queries is not None}
        given |= {"--closest": closest, "--batch": rows != "auto"}
        universal.refuse_settings(arguments, given)
    made = None if common else build("attack", name, arguments)
    under = parse_threat(threat)
    examples = load_data(data, limit=limit, classes=names, range=bounds, layout=layout)
    loaded = load_model(
        model,
        weights=weights,
        range=bounds,
        access=access,
        classes=class_count,
        device=device,
        trust_pickle=trust_pickle,
    )
    loaded, warnings, spent, _ = check_pair(loaded, examples)
    for warning in (*warnings, *check_eps(under, examples, loaded)):
        here.complain(f"warning: {warning}", style="yellow")
    if made is None:
        universal.run(here, loaded, examples, under, arguments, seed, path, spent)
        return exit_code()
    fitting(made, loaded, examples, under)
    if target is not None and not 0 <= target < (loaded.classes or target + 1):
        raise UsageError(f"--target is a label from 0 to {(loaded.classes or 1) - 1}, got {target}.")
    right = correct(loaded, examples)
    if target is not None:
        right = right[examples.y[right] != target]
    results = []
    for part in slices(len(right), rows if isinstance(rows, int) else BATCH):
        index = right[part]
        with catch_warnings():  # each batch would warn of its own rows
            simplefilter("ignore", SoundnessWarning)
            results.append(
                run(
                    made,
                    loaded,
                    take(examples.x, index),
                    examples.y[index],
                    under,
                    target=target,
                    seed=seed,
                    queries=queries,
                    closest=closest or None,
                    range=bounds,
                    layout="chw",  # they were turned above
                    access=access,
                )
            )
        if not quiet:
            here.say(f"{part.stop}/{len(right)} attacked, {sum(int(r.success.sum()) for r in results)} broken")
            here.flush()
    for line in dict.fromkeys(said for r in results for said in r.warnings if said.startswith(RANDOM)):
        here.complain(f"warning: {line}", style="yellow")
    for tell, count in (
        (masked, sum(int(r.flat.sum()) for r in results)),
        (not_finite, sum(int(r.odd.sum()) for r in results)),
    ):
        if count:
            here.complain(f"warning: {tell(count)}", style="yellow")
    for line in told(str(made.spec), str(under), len(examples), right, results, spent, target):
        here.say(line)
    if path is not None:
        save(path, examples, right, results)
        here.say(f"saved {path}")
    return exit_code()


def fitting(made: Any, model: Any, data: Data, threat: Any) -> None:
    """Refuse an attack that cannot walk in the threat's sets or needs more access than there is.

    Raises:
        UsageError: it can't run here; says why.
    """
    import torch

    from robustly.auditing.plan import Plan, PlanStage
    from robustly.auditing.plan import fitting as fits
    from robustly.auditing.single import refuse_misfit
    from robustly.core.rows import take

    around = threat.at(take(data.x, torch.arange(1)), model.domain)
    refuse_misfit(made, model, around, str(threat))
    try:
        fits(Plan("of one attack", (PlanStage("attack", made),)), model, around, random=False)
    except UsageError as error:
        raise UsageError(f"{made.spec.name} cannot run here: {str(error).partition(': ')[2]}") from None


def correct(model: Any, data: Data) -> Tensor:
    """The examples that the model reads as labelled, as indices; NaN, infinity and ties are wrong."""
    import torch

    from robustly.core.rows import cut
    from robustly.goals import Goal
    from robustly.oracle import Access

    right = []
    for part in model.parts(data.x, len(data)):
        x, goal = cut(data.x, part), Goal(data.y[part].to(model.device))
        answer = model.ask(x.to(model.device) if isinstance(x, torch.Tensor) else x)
        wrong = goal.met_by_labels(answer) if model.access == Access.LABELS else goal.met(answer)
        right.append(~wrong.cpu())
    return torch.cat(right).nonzero().flatten()


def told(
    spec: str, threat: str, count: int, right: Tensor, results: list[Result], spent: int, target: int | None
) -> list[str]:
    """The outcome in a few lines."""
    broken = sum(int(r.success.sum()) for r in results)
    distances = sorted(float(d) for r in results for d in r.distance[r.success].tolist())
    forward = spent + count + sum(int(r.forward.sum()) for r in results)
    backward = sum(int(r.backward.sum()) for r in results)
    of = "read as labelled" if target is None else f"read as labelled and not labelled {target}"
    lines = [f"{spec} under {threat}", f"examples {count}, {of} {len(right)}"]
    if not len(right):
        return [*lines, "nothing to attack"]
    lines.append(f"broken {broken} of {len(right)}: success rate {100 * broken / len(right):.1f} %")
    if target is None and ":inf" not in threat:
        lines.append(
            f"robust accuracy against this attack alone {100 * (len(right) - broken) / count:.1f} % of all examples"
        )
    if distances:
        middle = len(distances) // 2
        median = distances[middle] if len(distances) % 2 else (distances[middle - 1] + distances[middle]) / 2
        lines.append(f"median distance of the counterexamples {median:.6g}")
    return [*lines, f"passes {forward:,} forward and {backward:,} backward, clean pass and judge included"]


def save(path: Path, data: Data, index: Tensor, results: list[Result]) -> None:
    """Write an .npz of the attacked examples: x_adv (the input itself without success), y, index, success, and so on.

    Raises:
        RunError: the disk refused.
    """
    import io

    import numpy as np
    import torch

    from robustly.adapters.layout import as_given
    from robustly.core.points import write_atomically

    points = [as_given(r.x.cpu(), data.turned) for r in results if isinstance(r.x, torch.Tensor)]
    texts = [text for r in results if not isinstance(r.x, torch.Tensor) for text in r.x]
    x: Any = torch.cat(points).numpy() if points else np.array(texts, dtype=np.str_)
    columns = {
        key: torch.cat([getattr(r, key).cpu() for r in results]).numpy() if results else np.zeros(0)
        for key in ("success", "distance", "margin", "forward", "backward", "flat", "odd")
    }
    columns |= {"x_adv": x, "y": data.y[index].numpy(), "index": index.numpy()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **columns)
    write_atomically(path, content.getvalue())
