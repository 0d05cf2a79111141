"""Random points of the set: the weakest attack, and the check that a stronger one does better."""

from __future__ import annotations

from robustly.core.keys import fold
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.walk import still_open


@spec("attack", needs="labels", sets=("PerturbationSet",))
def noise(tries: int = 10) -> Attack:
    """`tries` random members of the set.

    Raises:
        UsageError: tries < 1.
    """
    at_least_one((tries, "tries"))

    def attack(case: Case) -> None:
        for index in range(tries):
            case, _ = still_open(case, ())
            if len(case.key):
                case.oracle.labels(case.around.sample(fold(case.key, index)))

    return attack
