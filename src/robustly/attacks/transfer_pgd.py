"""Transfer attacks as compositions: what the model is shown, what becomes of the gradient, what of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustly.core.errors import UsageError
from robustly.core.specs import build, from_table, spec
from robustly.losses import cross_entropy
from robustly.oracle.answers import Loss
from robustly.steps import Attack, Start, clean
from robustly.steps.transferable import transferable
from robustly.steps.types import Transform
from robustly.steps.views import View


@spec(
    "attack",
    paper="Dong et al. 2018, arXiv:1710.06081, and the views and transforms named",
    sets=("Ball", "GridSet", "BothSet"),
)
def transfer_pgd(
    steps: int = 10,
    size: float = 0.1,
    views: Sequence[View | str] = (),
    then: Sequence[Transform | str] = ("momentum",),
    after: Sequence[Transform | str] = (),
    ahead: float = 0.0,
    loss: Loss = cross_entropy,
    start: Start = clean,
) -> Attack:
    """Any chain of transfer methods: gradients through views, reshaped: transfer_pgd(views=[di(), si()], then=[ti(), momentum()]).

    A step asks each view's copies of the point, a forward and a backward pass each: si() and admix() together 15. Views and
    transforms may be given by name, in a plan file as tables: views = ["di", {view = "si", times = 3}].

    Args:
        steps: how many.
        size: of a step, as a fraction of eps.
        views: what the model is shown instead of the point, in the order of application; none is the point itself.
        then: what becomes of the gradient, in order: `variance` first, then `ti`, then `momentum`.
        after: what becomes of the step, once it has its direction and length: `patches`.
        ahead: how far along the momentum the gradient is taken, in its decays (1 with momentum() is NI-FGSM).
        loss: what is climbed.
        start: where.

    Raises:
        UsageError: steps < 1, size not above 0, an unknown view or transform, ahead without a momentum.
    """
    return transferable(
        _made("view", views),
        _made("transform", then),
        _made("transform", after),
        steps=steps,
        size=size,
        ahead=ahead,
        loss=loss,
        start=start,
    )


def _made(kind: str, given: Sequence[Any]) -> list[Any]:
    """The views or transforms, those named made at their defaults.

    Raises:
        UsageError: one alone for a list, or something else altogether.
    """
    if isinstance(given, (str, Mapping, View, Transform)):
        raise UsageError(f"{kind}s stand in a list, say [{kind}(...)]; got one alone: {given!r}.")
    wanted = View if kind == "view" else Transform
    out = [build(kind, one, {}) if isinstance(one, str) else one for one in given]
    out = [from_table(one, kind) if isinstance(one, Mapping) else one for one in out]
    for one in out:
        if not isinstance(one, wanted):
            hint = f"; write {one.__name__}()" if callable(one) and hasattr(one, "__wrapped__") else ""
            raise UsageError(f"a {kind} is wanted, such as {'di()' if kind == 'view' else 'ti()'}, got {one!r}{hint}.")
    return out
