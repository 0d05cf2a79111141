"""robustly attack universal: one change for all examples."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from robustly.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from robustly.adapters.data import Data
    from robustly.auditing.universal import UniversalResult
    from robustly.cli.terminal import Terminal
    from robustly.oracle import Model
    from robustly.threats import Threat

NAME = "universal"
SETTINGS = ("times", "steps", "share", "overshoot")


def refuse_settings(arguments: dict[str, Any], others: dict[str, bool]) -> None:
    """Raise for an argument that it has not. others: options of `robustly attack`, and whether they were given.

    Raises:
        UsageError: names it.
    """
    for key in arguments:
        if key not in SETTINGS:
            raise UsageError(f'universal has no argument "{key}".{nearest(key, SETTINGS)}')
    for option, was_given in others.items():
        if was_given:
            raise UsageError(
                f"universal takes no {option}: it looks for one change that makes the model err on all. Leave it out."
            )


def run(
    here: Terminal,
    model: Model,
    data: Data,
    threat: Threat,
    arguments: dict[str, Any],
    seed: int,
    path: Path | None,
    spent: int,
) -> None:
    """Look for the change, say how many it fools, and save it. spent: forward passes before.

    Raises:
        UsageError: as `robustly.universal`.
    """
    from robustly.auditing.universal import universal
    from robustly.core.errors import SoundnessWarning

    known = inspect.signature(universal).parameters
    given = {key: arguments.get(key, known[key].default) for key in SETTINGS}
    with catch_warnings():  # said below
        simplefilter("ignore", SoundnessWarning)
        found = universal(model, data.x, data.y, threat, seed=seed, layout="chw", range=None, **given)
    for doubt in found.warnings:
        here.complain(f"warning: {doubt}", style="yellow")
    for line in told(found, ", ".join(f"{key}={value}" for key, value in given.items()), str(threat), spent):
        here.say(line)
    if path is not None:
        save(path, found, data)
        here.say(f"saved {path}")


def told(found: UniversalResult, settings: str, threat: str, spent: int) -> list[str]:
    """The outcome in a few lines."""
    read, fooled = int(found.read.sum()), int(found.fooled.sum())
    forward, backward = int(found.forward.sum()) + spent, int(found.backward.sum())
    return [
        f"{NAME}({settings}) under {threat}",
        f"examples {len(found.read)}, read as labelled {read}",
        f"fooled {fooled} of {read} by one change: {100 * found.rate:.1f} %",
        f"passes {forward:,} forward and {backward:,} backward, clean pass and judge included",
    ]


def save(path: Path, found: UniversalResult, data: Data) -> None:
    """Write an .npz: change (...), x_adv (B, ...), y, read and fooled (B,), in the layout of the data.

    Raises:
        RunError: the disk refused.
    """
    import io

    import numpy as np

    from robustly.adapters.layout import as_given
    from robustly.core.points import write_atomically

    content = io.BytesIO()
    np.savez_compressed(
        content,
        allow_pickle=False,
        change=as_given(found.change[None].cpu(), data.turned)[0].numpy(),
        x_adv=as_given(found.x.cpu(), data.turned).numpy(),
        y=data.y.numpy(),
        read=found.read.cpu().numpy(),
        fooled=found.fooled.cpu().numpy(),
        forward=found.forward.cpu().numpy(),
        backward=found.backward.cpu().numpy(),
    )
    write_atomically(path, content.getvalue())
