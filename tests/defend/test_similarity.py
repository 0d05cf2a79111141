"""The learnt space: views of one image come together, different images stay apart."""

import pytest
import torch

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.defend.similarity import contrastive, similarity, transformed
from robustly.zoo.load import images


def apart(encode, x):
    """How often an image is nearer to its own view than to another image."""
    view = transformed(x, keys.from_ids(9, [str(i) for i in range(len(x))]))
    return (torch.cdist(encode(view), encode(x)).argmin(1) == torch.arange(len(x))).float().mean().item()


def test_it_knows_images_again():
    x, _, _ = images("fashion")
    encode = similarity(x[:400], steps=60)
    learnt, plain = apart(encode, x[600:700]), apart(lambda z: z.flatten(1), x[600:700])
    assert learnt > plain + 0.1
    assert torch.equal(encode(x[:3]), similarity(x[:400], steps=60)(x[:3]))
    assert not encode(x[:1]).requires_grad


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
