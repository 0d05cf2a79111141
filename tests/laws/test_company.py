"""An example does not feel its neighbours, to the last number of the ledger, when each has a size of its own."""

from dataclasses import replace

import pytest
import torch

from robustly.core.rows import take
from robustly.oracle import Oracle
from robustly.steps import Case
from robustly.threats import L0, Both, Edits, Grid

from .cases import OF_IMAGES, key_of, problem, small_attack
from .test_attacks import PAIRS

SHARES = torch.tensor([0.02, 1.0, 0.1, 0.5, 0.05, 2.0, 0.3, 0.01, 0.7])
NUMBERS = ("hit", "firm", "odd", "forward", "backward", "flat", "distance", "best_margin", "first")


def sized(threat, index):
    """The threat with an eps of its own for each row."""
    if isinstance(threat, Grid):
        return replace(threat, threat=sized(threat.threat, index))
    if isinstance(threat, Both):
        return Both(sized(threat.first, index), sized(threat.second, index))
    shares = (5 * SHARES).ceil() / 5 if isinstance(threat, L0) else SHARES
    return (
        threat if isinstance(threat, (Edits, *OF_IMAGES)) else replace(threat, eps=threat.eps * shares.double()[index])
    )


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_each_number_of_the_ledger_is_the_same_alone(entry, threat):
    model, x, goal, ids = problem(threat)

    def attacked(rows):
        index = torch.tensor(rows)
        around, part = sized(threat, index).at(take(x, index), model.domain), goal.take(index)
        oracle = Oracle(model, around, part, press_on=True)
        small_attack(entry)(Case(around, part, key_of([ids[i] for i in rows]), oracle))
        return oracle.ledger

    whole = attacked(list(range(len(ids))))
    for rows in ([0], [1], [4, 3], [5, 2, 0]):
        part = attacked(rows)
        for name in NUMBERS:
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows]), name
        points = take(whole.point, torch.tensor(rows))
        assert part.point == points if isinstance(points, tuple) else torch.equal(part.point, points)
