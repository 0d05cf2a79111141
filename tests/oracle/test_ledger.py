"""What the ledger keeps of several points at once, and how often a step waits for the device to look at it."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robustly.goals import Goal
from robustly.losses import cross_entropy
from robustly.oracle import Model, Oracle
from robustly.oracle.ledger import Ledger
from robustly.oracle.reading import Reading
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)
LOOKS = ("nonzero", "_local_scalar_dense", "is_nonzero", "masked_select", "item", "unique")


class Looks(TorchDispatchMode):
    """How often the program waits for a value of a tensor, an index by a mask included."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count, and go on."""
        name = func.name().split("::")[1].split(".")[0]
        masked = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.count += name in LOOKS or masked
        return func(*args, **(kwargs or {}))


def entered(order: tuple[int, ...], deepest: bool = False) -> Ledger:
    """A ledger of three rows after four points of row 1 and one of row 0 in this order."""
    x = torch.zeros(3, 2)
    value = torch.tensor([0.3, 0.2, 0.1, 0.9, 0.25])
    firm = torch.tensor([True, True, False, True, True])
    margin = torch.tensor([-3.0, -2.0, -1.0, -9.0, -5.0]).double()
    owner = torch.tensor([1, 1, 1, 1, 0])
    pick = torch.tensor(order)
    ledger = Ledger(x, x.device, deepest=deepest)
    z = value[pick][:, None].expand(-1, 2).clone()
    reading = Reading(torch.ones_like(pick, dtype=torch.bool), firm[pick], torch.zeros_like(pick).bool(), margin[pick])
    ledger.note(owner[pick], z, reading, lambda i: Linf(0.5).at(x, UNIT).take(owner[pick][i]))
    return ledger


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), *list(permutations(range(5)))[7:90:9]])
def test_the_best_of_several_points_of_a_row_is_kept_in_any_order(order):
    ledger = entered(order)
    assert ledger.hit.tolist() == [True, True, False]
    assert ledger.distance[:2].tolist() == pytest.approx([0.25, 0.2], abs=1e-6)  # firm before near; 0.9 lies outside
    assert ledger.point[1].tolist() == pytest.approx([0.2, 0.2])
    assert ledger.best_margin.tolist() == [-5.0, -3.0, float("inf")]
    assert entered(order, deepest=True).point[1].tolist() == pytest.approx([0.3, 0.3])


def test_a_worse_point_changes_nothing_but_what_was_seen():
    ledger = entered((1, 4))
    kept = ledger.point.clone(), ledger.distance.clone()
    x = torch.zeros(1, 2)
    reading = Reading(*(torch.tensor([b]) for b in (True, True, False)), torch.tensor([-7.0]).double())
    ledger.note(torch.tensor([1]), x + 0.4, reading, lambda i: Linf(0.5).at(x, UNIT).take(i))
    assert torch.equal(ledger.point, kept[0])
    assert torch.equal(ledger.distance, kept[1])
    assert ledger.best_margin[1] == -7
    assert ledger.changes == 2


def asked(z: Tensor, press_on: bool) -> int:
    """How often a gradient step at z looks at the device, once the oracle has warmed up."""
    x, y = torch.tensor([[0.2, 0.5], [0.4, 0.5], [0.9, 0.1]]), torch.tensor([0, 0, 1])
    model = Model(lambda z: torch.stack((0.5 - z[:, 0], z[:, 0] - 0.5), 1), UNIT, classes=2)
    oracle = Oracle(model, Linf(0.2).at(x, UNIT), Goal(y), press_on=press_on)
    oracle.gradient(x, cross_entropy)
    with Looks() as looks:
        oracle.gradient(z, cross_entropy)
    return looks.count


def test_a_step_that_finds_nothing_looks_at_most_twice():
    """Whether a point hit; and, on a CPU alone, whether the gradient is sound."""
    for press_on in (False, True):
        assert asked(torch.tensor([[0.2, 0.5], [0.4, 0.5], [0.9, 0.1]]), press_on) <= 2


def test_a_step_that_hits_looks_a_fixed_number_of_times():
    assert asked(torch.tensor([[0.4, 0.5], [0.6, 0.5], [0.9, 0.1]]), press_on=True) <= 5
