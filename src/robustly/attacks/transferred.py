"""Points found on another model, asked of this one."""

from __future__ import annotations

from robustly.core.errors import UsageError
from robustly.core.keys import fold
from robustly.core.specs import spec
from robustly.oracle import Model
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.surrogates import lowest, refuse_blind
from robustly.steps.walk import still_open


@spec(
    "attack",
    paper="Papernot, McDaniel & Goodfellow 2016, arXiv:1605.07277",
    needs="labels",
    sets=("PerturbationSet",),
    elsewhere=True,
)
def transferred(surrogate: Model, inner: Attack, times: int = 1) -> Attack:
    """An attack on a surrogate, whose point of lowest margin is then asked of the model: one forward pass of it each time.

    It is asked where the surrogate holds too, since another model may give way sooner. Several
    surrogates are given as one: mean_losses(a, b), mean_logits(a, b) or mean_gradients(a, b). The surrogate's own passes are not on the bill, which counts what the model under audit is asked.

    Args:
        surrogate: a model of the same inputs and classes that gives gradients.
        inner: the attack on the surrogate.
        times: how often, each time with fresh random keys.

    Raises:
        UsageError: times < 1, or a surrogate that is no `Model` or has no gradients.
    """
    if not isinstance(surrogate, Model):
        raise UsageError(f"a surrogate is a Model, got a {type(surrogate).__name__}: make it with load_model(...).")
    at_least_one((times, "times"))
    refuse_blind(surrogate)

    def attack(case: Case) -> None:
        for index in range(times):
            case, _ = still_open(case, ())
            if not len(case.key):
                return
            case.oracle.labels(lowest(surrogate, inner, case, fold(case.key, index)))

    return attack
