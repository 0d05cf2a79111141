"""Questions of one box are found together, however they are stored."""

import pytest
import torch
from torch import nn

from robustly.certify import lines as module
from robustly.certify.boxes import boxes
from robustly.certify.lines import lines, tuned_lines
from robustly.certify.questions import Questions, same_boxes
from robustly.certify.types import TooMuch


def questions(shared: bool) -> Questions:
    torch.manual_seed(0)
    low, high = -torch.ones(3, 4).double(), torch.ones(3, 4).double()
    if shared:
        low, high = low[:1].expand(3, 4), high[:1].expand(3, 4)
    return Questions(low, high, torch.randn(3, 2, 5).double(), torch.randn(3, 2).double())


def test_neighbours_with_one_box_are_a_group():
    apart = Questions(
        torch.tensor([[0.0], [0.0], [1.0]]).double(),
        torch.tensor([[1.0], [1.0], [2.0]]).double(),
        *[torch.zeros(3, 1, 1)] * 2,
    )
    group, first, place = same_boxes(apart)
    assert (group.tolist(), first.tolist(), place.tolist()) == ([0, 0, 1], [0, 2], [0, 1, 0])
    for shared in (True, False):
        group, first, place = same_boxes(questions(shared))
        assert (group.tolist(), first.tolist(), place.tolist()) == ([0, 0, 0], [0], [0, 1, 2])


@pytest.mark.parametrize("make", [boxes, lines])
def test_bounds_do_not_depend_on_how_boxes_are_stored(make):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5)).eval()
    bound = make(net, 4)
    one, other = bound(questions(True)).least, bound(questions(False)).least
    alone = torch.cat([bound(questions(False).take(torch.tensor([i]))).least for i in range(3)])
    assert torch.equal(one, other)
    assert torch.allclose(one, alone, atol=1e-12)
    assert float(one.detach().std()) > 0


@pytest.mark.parametrize("make", [lines, tuned_lines])
def test_what_takes_too_many_operations_is_not_begun(make, monkeypatch):
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5)).eval()
    bound = make(net, 4)
    monkeypatch.setattr(module, "MOST", 100.0)
    with pytest.raises(TooMuch, match="operations, more than 1e"):
        bound(questions(True))
