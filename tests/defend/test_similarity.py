"""The learnt space: views of one image come together, different images stay apart."""

import pytest
import torch
from torch.nn import functional

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.defend.similarity import contrastive, similarity, transformed
from robustly.zoo.load import images


def near(encode, x):
    """The distance of an image to its own view, over that to the view of any: 1 where a view says nothing of it."""
    view = transformed(x, keys.from_ids(9, [str(i) for i in range(len(x))]))
    far = torch.cdist(encode(view), encode(x))
    return (far.diagonal().mean() / far.mean()).item()


def test_views_of_an_image_come_together():
    x = functional.avg_pool2d(images("fashion")[0], 2)
    encode = similarity(x[:400], steps=25)
    learnt, plain = near(encode, x[600:700]), near(lambda z: z.flatten(1), x[600:700])
    assert 0.4 < plain < 0.5
    assert learnt < 0.6 * plain
    assert not encode(x[:1]).requires_grad


def test_the_same_images_and_seed_give_the_same_encoder():
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(similarity(x, steps=2)(x), similarity(x, steps=2)(x))
    assert not torch.equal(similarity(x, steps=2)(x), similarity(x, steps=2, seed=1)(x))


def test_the_loss_by_hand():
    one, same = torch.zeros(1, 2), torch.tensor([[1.0, 1.0]])
    assert contrastive(one, same, torch.tensor([[2.0, 0.0]])).item() == pytest.approx(2 + 10 - 4)
    assert contrastive(one, same, torch.tensor([[4.0, 0.0]])).item() == pytest.approx(2)


def test_views_differ_by_key_and_stay_in_range():
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    key = keys.from_ids(0, list("abcd"))
    view = transformed(x, key)
    assert torch.equal(view[2:3], transformed(x[2:3], key[2:3]))
    assert not torch.equal(view, transformed(x, keys.fold(key, 1)))
    assert 0 <= view.min() <= view.max() <= 1


def test_it_needs_images():
    with pytest.raises(UsageError, match="images"):
        similarity(torch.rand(5, 7))
