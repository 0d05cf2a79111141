"""The random bits are Philox's, and belong to the example alone."""

import pytest
import torch

from robustly.core import keys

VECTORS = [  # known answers published with the algorithm (Random123, kat_vectors): counter 0 and all zero or all ones keys
    ((0x00000000, 0x00000000), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
]


@pytest.mark.parametrize(("key", "counter", "words"), VECTORS)
def test_known_answers(key, counter, words):
    made = keys._philox(torch.tensor([key]), torch.tensor([counter]), stream=0)
    assert tuple(made[0, 0].tolist()) == words


def philox(key, counter, stream):
    """The algorithm in plain integers, as the paper writes it."""
    k0, k1 = key
    x = [counter, 0, stream, 0]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [(p1 >> 32) ^ x[1] ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ x[3] ^ k1, p0 & 0xFFFFFFFF]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x


def test_tensors_agree_with_plain_integers():
    key = keys.from_ids(3, ["a", "b"])
    for stream in (0, 1):
        made = keys._philox(key, torch.arange(5), stream)
        for row in range(2):
            for counter in range(5):
                assert made[row, counter].tolist() == philox(tuple(key[row].tolist()), counter, stream)


def test_draws_do_not_depend_on_neighbours():
    whole = keys.from_ids(0, ["a", "b", "c"])
    alone = keys.from_ids(0, ["b"])
    for draw in (lambda k: keys.uniform(k, (3, 2)), lambda k: keys.normal(k, (7,)), lambda k: keys.permutation(k, 9)):
        assert torch.equal(draw(whole)[1:2], draw(alone))


def test_draws_have_the_right_moments():
    key = keys.from_ids(0, [str(i) for i in range(50)])
    u, n = keys.uniform(key, (2000,)), keys.normal(key, (2000,))
    assert abs(u.mean() - 0.5) < 0.005
    assert abs(u.var() - 1 / 12) < 0.002
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(n.mean()) < 0.02
    assert abs(n.var() - 1) < 0.02
    counts = torch.bincount(keys.integers(key, 5, (2000,)).flatten(), minlength=5) / 1e5
    assert (counts - 0.2).abs().max() < 0.01


def test_folds_seeds_and_ids_give_other_bits():
    key = keys.from_ids(0, ["a"])
    others = [
        keys.fold(key, 0),
        keys.fold(key, 1),
        keys.fold(key, 0, 1),
        keys.from_ids(1, ["a"]),
        keys.from_ids(0, ["b"]),
    ]
    seen = {tuple(k[0].tolist()) for k in [key, *others]}
    assert len(seen) == 6


def test_integers_take_a_limit_a_row():
    key = keys.from_ids(0, ["a", "b"])
    drawn = keys.integers(key, torch.tensor([3, 1000]), (500,))
    assert drawn[0].max() == 2
    assert 500 < drawn[1].max() < 1000


def test_a_permutation_is_one():
    p = keys.permutation(keys.from_ids(0, ["a", "b"]), 20)
    assert torch.equal(p.sort(1).values, torch.arange(20).expand(2, -1))
    assert not torch.equal(p[0], p[1])
