"""Points found on another model, asked of this one."""

from __future__ import annotations

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.rows import device_of
from robustly.core.specs import spec
from robustly.oracle import Access, Model, Oracle
from robustly.oracle.ledger import Ledger
from robustly.steps import Attack, Case
from robustly.steps.walk import still_open


@spec(
    "attack",
    paper="Papernot, McDaniel & Goodfellow 2016, arXiv:1605.07277",
    needs="labels",
    sets=("PerturbationSet",),
    elsewhere=True,
)
def transferred(surrogate: Model, inner: Attack, times: int = 1) -> Attack:
    """An attack on a surrogate, whose deepest point is then asked of the model: one forward pass of it each time.

    Where the surrogate holds there is no point to ask, and nothing is paid; another `inner` may help.
    The surrogate's own passes are not on the bill, which counts what the model under audit is asked.

    Args:
        surrogate: a model of the same inputs and classes that gives gradients.
        inner: the attack on the surrogate.
        times: how often, each time with fresh random keys.

    Raises:
        UsageError: times < 1, or a surrogate that is no `Model` or has no gradients.
    """
    if not isinstance(surrogate, Model):
        raise UsageError(f"a surrogate is a Model, got a {type(surrogate).__name__}: make it with load_model(...).")
    if times < 1:
        raise UsageError(f"times must be at least 1, got {times}.")
    if surrogate.access < Access.GRADIENTS:
        raise UsageError(
            f"the surrogate {surrogate.name} gives no gradients; take one that does, such as a torch network."
        )

    def attack(case: Case) -> None:
        for index in range(times):
            case, _ = still_open(case, ())
            if not len(case.key):
                return
            ledger = Ledger(case.around.x, device_of(case.around.x), deepest=True)
            oracle = Oracle(surrogate, case.around, case.goal, press_on=True, ledger=ledger)
            inner(Case(case.around, case.goal, fold(case.key, index), oracle))
            case.oracle.labels(ledger.point, ledger.hit)

    return attack
