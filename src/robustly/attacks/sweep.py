"""Every member of a set that can be counted off, or a few of them at random."""

from __future__ import annotations

from robustly.core.errors import UsageError
from robustly.core.keys import bits
from robustly.core.specs import spec
from robustly.steps import Attack, Case
from robustly.steps.counts import at_least_one
from robustly.steps.walk import still_open
from robustly.threats.enumerated import Enumerated


@spec("attack", paper="Engstrom et al. 2019, arXiv:1712.02779, grid search", needs="labels", sets=("Enumerated",))
def sweep() -> Attack:
    """All members, the smallest changes first: complete, and what it finds first is the smallest change that breaks.

    A surviving example costs as many forward passes as the set has members.
    """

    def attack(case: Case) -> None:
        for number in range(counted_off(case, "sweep").count):
            case, _ = still_open(case, ())
            if not len(case.key):
                return
            case.oracle.labels(counted_off(case, "sweep").member(number))

    return attack


@spec("attack", paper="Engstrom et al. 2019, arXiv:1712.02779, worst of k", needs="labels", sets=("Enumerated",))
def worst_of(tries: int = 10) -> Attack:
    """`tries` members of each example's own choice, all different; all members where there are no more.

    Raises:
        UsageError: tries < 1.
    """
    at_least_one((tries, "tries"))

    def attack(case: Case) -> None:
        count = counted_off(case, "worst_of").count
        order = bits(case.key, count).argsort(dim=1, stable=True)[:, :tries]
        for index in range(order.shape[1]):
            case, (order,) = still_open(case, (order,))
            if not len(case.key):
                return
            case.oracle.labels(counted_off(case, "worst_of").pick(order[:, index]))

    return attack


def counted_off(case: Case, who: str) -> Enumerated:
    """The case's set, if its members can be counted off.

    Raises:
        UsageError: they can't.
    """
    if not isinstance(case.around, Enumerated):
        raise UsageError(
            f"{who} tries the members of a set one by one (rotate, shift, corrupt), and {type(case.around).__name__} has "
            "too many: use pgd there, or noise."
        )
    return case.around
