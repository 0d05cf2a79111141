"""robustly replay: does one stored counterexample still hold?"""

from __future__ import annotations

import math
from typing import Annotated

from cyclopts import Parameter

from robustly.cli import options


def replay(
    run: options.Run,
    example: Annotated[str, Parameter(name="ID", help="The example: its number, or 8 or more digits of its id.")],
    model: Annotated[
        str | None, Parameter(help="Another model than the audited one: the same forms as for `robustly audit`.")
    ] = None,
    /,
    *,
    weights: options.Weights = None,
    device: options.Device = "cpu",
    trust_pickle: options.TrustPickle = False,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Run one stored counterexample again through the model and the judge.

    The exit code is 0 if it still holds, 1 if not.
    """
    from robustly.auditing.replay import audited_model
    from robustly.auditing.replay import replay as replayed
    from robustly.cli.opening import open_record
    from robustly.cli.show import find
    from robustly.core.errors import UsageError
    from robustly.report.gate import FAILED, exit_code
    from robustly.report.words import class_name, number

    record = open_record(run)
    row = find(record, example)
    if row.counterexample is None:
        broken = [r.index for r in record.rows if r.counterexample][:5]
        hint = f"The first broken ones: {', '.join(map(str, broken))}." if broken else "No example was broken."
        raise UsageError(f"example {row.index} is {row.verdict}: it has no counterexample. {hint}")
    loaded = audited_model(record, model, weights, device, trust_pickle)
    found = replayed(record, row.index, loaded)
    judged = found.judgement
    if not found.same_model:
        here.say("the model is not the audited one: its weights have another hash", style="yellow")
    here.say(f"example {row.index}, {class_name(record, row.label)}, under {record.threat}")
    if found.before is not None:
        here.say(f"unperturbed: read as {class_name(record, found.before)}")
    margin = float(judged.margin[0])
    reading = f"counterexample: read as {class_name(record, int(judged.label[0]))}"
    here.say(reading + ("" if math.isnan(margin) else f", margin {number(margin)}"))
    inside = "inside the set" if bool(judged.inside[0]) else "outside the set"
    here.say(f"distance {float(judged.distance[0]):.6g}, {inside}")
    here.say("it still holds" if found.holds else "it no longer holds", style="bold")
    return exit_code() if found.holds else FAILED
