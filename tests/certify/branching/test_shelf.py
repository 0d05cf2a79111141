"""Open sub-problems come back as they were, worst first, within the room they are given."""

import torch

from robustly.certify.branching.layout import Layout
from robustly.certify.branching.shelf import Leaves, Shelf


def leaves(scores):
    count = len(scores)
    lower = torch.tensor([[s - 1.0, s] for s in scores], dtype=torch.float64)
    number = torch.arange(count)
    signs = (number[:, None] % 3 - 1).to(torch.int8).expand(-1, 5).contiguous()
    slopes = (number.double() / 16)[:, None, None].expand(-1, 2, 4)
    return Leaves(number, number + 10, signs, lower, slopes, slopes.new_full((count, 2, 5), 1e9))


def test_the_worst_come_first_with_all_that_belongs_to_them():
    scores = [-(0.5 + (7 * i) % 16) for i in range(16)]
    some = leaves(scores)
    shelf = Shelf(some, 1e6)
    assert shelf.put(some.take(torch.arange(9)))
    assert shelf.put(some.take(torch.arange(9, 16)))
    order = torch.tensor(scores).argsort()
    for first in (0, 5, 10):
        now = shelf.worst(5)
        wanted = some.take(order[first : first + 5])
        for one, two in zip(now.fields[:5], wanted.fields[:5], strict=True):
            assert torch.equal(one, two)
        assert bool((now.multipliers <= 6e4).all())  # what float16 can't hold is less, never infinite
    assert len(shelf) == 1
    owner, score = shelf.scores
    assert owner.tolist() == [int(order[-1])]
    assert score.tolist() == [max(scores)]
    assert shelf.put(some)
    assert len(shelf.worst(100)) == 17


def test_what_has_no_room_is_not_taken():
    some = leaves([-1.0] * 8)
    shelf = Shelf(some, 8 * 100)  # a leaf takes 73 bytes
    assert shelf.put(some)
    assert not shelf.put(some)
    assert len(shelf) == 8


def test_rows_are_packed_and_unpacked_in_the_same_order():
    layout = Layout({3: (2, 2), 7: (3,)})
    parts = {3: torch.arange(8.0).view(2, 2, 2), 7: torch.arange(6.0).view(2, 3)}
    row = layout.pack(parts, row_like := torch.zeros(2, 1))
    assert row.shape == (2, layout.width)
    assert all(torch.equal(layout.unpack(row)[k], v) for k, v in parts.items())
    assert layout.pack({7: parts[7]}, row_like)[:, :4].abs().sum() == 0
