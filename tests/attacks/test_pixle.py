from __future__ import annotations

import torch

from robustly.attacks.pixle import pixle, rearranged
from robustly.core import keys
from robustly.threats import L0

from .small import small


def test_pixels_come_from_a_patch_of_the_input_and_no_two_to_one_place():
    x = torch.arange(2 * 7 * 9).reshape(1, 2, 7, 9).float().expand(200, -1, -1, -1)
    base = -1 - x
    out = rearranged(x, base, keys.from_ids(0, [str(i) for i in range(200)]), 4)
    changed = (out != base).any(1)
    assert changed.flatten(1).sum(1).unique().tolist() == [4, 6, 8, 9, 12, 16]
    for row, where in zip(out, changed, strict=True):
        taken = row[:, where]
        assert torch.equal(taken[1] - taken[0], torch.full_like(taken[0], 63))  # all channels of one pixel
        assert len(taken[0].unique()) == taken.shape[1]
        down, across = taken[0] // 9, taken[0] % 9
        tall, wide = int(down.max() - down.min()) + 1, int(across.max() - across.min()) + 1
        assert tall * wide == taken.shape[1]
        assert 2 <= min(tall, wide) <= max(tall, wide) <= 4
    assert len(changed.flatten(1).unique(dim=0)) > 190


def test_a_line_of_numbers():
    x = torch.arange(5).float().expand(50, -1)
    out = rearranged(x, x + 10, keys.from_ids(0, [str(i) for i in range(50)]), 3)
    assert set((out != x + 10).sum(1).tolist()) == {2, 3}


def test_proposals_of_one_round_change_the_same_image():
    problem = small((1, 1, 40), count=8)
    problem.run(pixle(7, tries=3, width=4), L0(float("inf")), press_on=True)
    first, second, third = (problem.asked[i] for i in (1, 2, 3))
    for z in (first, second, third):
        assert ((z != problem.x).flatten(1).sum(1) <= 4).all()
    fourth = problem.asked[4]
    assert ((fourth != problem.x).flatten(1).sum(1) <= 8).all()
    assert ((fourth != problem.x).flatten(1).sum(1) > 4).any()
