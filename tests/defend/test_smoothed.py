"""The smoothed classifier as a model: what it predicts, when it abstains, and what it refuses."""

import pytest
import torch
from torch import nn

from robustly import predict, smooth
from robustly.core.errors import UsageError
from robustly.defend.smoothed import elected
from robustly.oracle import Access, Model, smoothing_of
from robustly.steps.noises import Laplace
from robustly.threats import Domain


def stripes(z):
    """Class 1 in thin stripes: noise wider than they are sees class 0 everywhere."""
    inside = (z.flatten(1)[:, 0] * 20 % 1) < 0.3
    return torch.stack((~inside, inside), 1).float()


def test_noise_smooths_thin_stripes_away():
    model = smooth(stripes, 0.25, range=(0, 1))
    x = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    assert stripes(x).argmax(1).sum() > 2
    assert predict(model, x).tolist() == [0] * 20
    assert torch.allclose(model.ask(x)[:, 0], torch.full((20,), 0.2), atol=0.2)


def test_it_abstains_where_votes_are_level():
    level = smooth(lambda z: torch.stack((z[:, 0], 1 - z[:, 0]), 1), 0.25, range=(0, 1))
    assert predict(level, torch.tensor([[0.5], [0.9], [0.1]])).tolist() == [-1, 0, 1]
    assert elected(torch.tensor([0, 52, 48]), 0.001) == -1
    assert elected(torch.tensor([0, 90, 10]), 0.001) == 0
    assert elected(torch.tensor([90, 10, 0]), 0.001) == -1


def test_a_denoiser_stands_before_the_model():
    class Clamp(nn.Module):
        def forward(self, z):
            return z.clamp(0.4, 0.6)

    def call(z):  # errs far from the middle, where noise leads and the denoiser leads back from
        away = (z - 0.5).abs().amax(1) > 0.15
        return torch.stack((~away, away), 1).float()

    x = torch.full((3, 4), 0.5)
    bare, behind = smooth(call, 0.25, range=(0, 1)), smooth(call, 0.25, range=(0, 1), denoiser=Clamp().eval())
    assert predict(bare, x).tolist() == [1] * 3
    assert predict(behind, x).tolist() == [0] * 3
    assert bare.digest != behind.digest
    with pytest.raises(UsageError, match="training mode"):
        smooth(call, 0.25, denoiser=nn.Dropout())


def test_what_it_says_of_itself():
    model = smooth(stripes, 0.25, noise=Laplace, range=(0, 1))
    assert "laplace:0.25" in model.name
    assert "the model itself has no certificate" in model.notes[0]
    assert model.module is None
    assert smoothing_of(model).votes == 100
    assert model.digest != smooth(stripes, 0.5, noise=Laplace, range=(0, 1)).digest
    assert model.digest != smooth(stripes, 0.25, noise=Laplace, range=(0, 1), seed=1).digest


def test_what_is_refused():
    with pytest.raises(UsageError, match=r"63\.75"):
        smooth(stripes, 0.25, range=(0, 255))
    with pytest.raises(UsageError, match="smoothed already"):
        smooth(smooth(stripes, 0.25), 0.25)
    with pytest.raises(UsageError, match="sigma"):
        smooth(stripes, 0.0)
    with pytest.raises(UsageError, match="votes"):
        smooth(stripes, 0.25, votes=1)
    labels = Model(lambda z: z[:, 0].round().long(), Domain(0, 1), Access.LABELS)
    with pytest.raises(UsageError, match="classes"):
        smooth(labels, 0.25)
    assert smooth(labels, 0.25, classes=2).access is Access.SCORES
    with pytest.raises(UsageError, match="no smoothed model"):
        predict(labels, torch.zeros(1, 1))
