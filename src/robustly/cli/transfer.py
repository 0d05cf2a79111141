"""robustly transfer: does what fools one model fool another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from robustly.cli import options, values
from robustly.core.errors import UsageError


def transfer(
    *words: Annotated[
        str,
        Parameter(
            name="MODEL",
            group=options.WHAT,
            help="Two models or more, and last the data; each in the words of `robustly audit`.",
        ),
    ],
    threat: options.Threat,
    attack: Annotated[
        str, Parameter(group=options.HOW, help="Its name in `robustly list attacks`, say difgsm or transfer_pgd.")
    ] = "mifgsm",
    set_: options.Set = [],  # noqa: B006 - cyclopts makes a fresh list
    limit: options.Limit = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    range_: options.Range = None,
    layout: options.Layout = None,
    trust_pickle: options.TrustPickle = False,
    out: Annotated[
        str | None,
        Parameter(group=options.OUTPUT, help="A folder for transfer.json and the picture, transfer.svg."),
    ] = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Attack each model, and ask every model about what was found.

    Only examples that both models read rightly without any change count. Every
    success is confirmed by the judge.
    """
    if len(words) < 3:
        raise UsageError(
            f"robustly transfer wants two models or more and then the data, got {len(words)} words: "
            "robustly transfer zoo:fashion_plain zoo:fashion_adversarial zoo:fashion --threat linf:0.1"
        )
    *sources, data = words
    arguments, bounds = values.settings(set_), values.interval(range_)
    values.at_least(limit, 1, "--limit")
    folder = None if out is None else Path(out)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"--out is a folder, but {folder} is a file. Give another name.")

    from robustly.adapters.data import load_data
    from robustly.auditing.transfer import transfer_matrix
    from robustly.core.points import write_atomically
    from robustly.core.specs import build
    from robustly.core.transfers import FILE
    from robustly.report.gate import exit_code
    from robustly.report.transfers import matrix_picture, matrix_table

    found = transfer_matrix(
        sources,
        load_data(data, limit=limit, range=bounds, layout=layout),
        threat,
        build("attack", attack, arguments),
        seed=seed,
        range=bounds,
        device=device,
        trust_pickle=trust_pickle,
        told=None if quiet else here.say,
    )
    for note in found.notes:
        here.complain(f"warning: {note}", style="yellow")
    here.show(matrix_table(found))
    if folder is not None:
        write_atomically(folder / FILE, found.to_json().encode())
        write_atomically(folder / "transfer.svg", standing_alone(matrix_picture(found)).encode())
        here.say(f"saved {folder / FILE} and {folder / 'transfer.svg'}")
    return exit_code()


def standing_alone(picture: str) -> str:
    """The picture as a file of its own, which must say what it is."""
    return str.replace(picture, "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
