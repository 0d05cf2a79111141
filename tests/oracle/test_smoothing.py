"""Votes: the same alone and in any batch, on inputs that are rounded but not clipped, and never for an answer that is none."""

import pytest
import torch

from robustly.core.errors import UsageError
from robustly.oracle import Access, Model, Smoothing, smoothing_of
from robustly.oracle.smoothing import content_key, refuse_scale
from robustly.steps.noises import Gaussian
from robustly.threats import Domain


def linear(classes=3, n=5):
    weight = torch.randn(n, classes, generator=torch.Generator().manual_seed(0))
    return Model(lambda z: z.flatten(1) @ weight, Domain(0, 1), classes=classes)


def inputs(count=6):
    return torch.rand(count, 5, generator=torch.Generator().manual_seed(1))


def test_votes_are_those_of_the_content_in_any_company_and_any_cut():
    smoothing, x = Smoothing(linear(), Gaussian(0.3), votes=40), inputs()
    together = smoothing.scores(x)
    assert torch.equal(together, torch.cat([smoothing.scores(x[i : i + 1]) for i in range(6)]))
    assert torch.equal(together.flip(0), smoothing.scores(x.flip(0)))
    whole = smoothing.counts(x[0], "a", 700)
    assert whole.sum() == 700
    assert torch.equal(whole, smoothing.counts(x[0], "a", 300) + smoothing.counts(x[0], "a", 700, 300))


def test_purposes_and_seeds_draw_apart():
    first, other = (
        torch.cat(list(Smoothing(linear(), Gaussian(0.3), seed=s)._copies(inputs()[0], "a", 0, 9))) for s in (0, 1)
    )
    (second,) = Smoothing(linear(), Gaussian(0.3))._copies(inputs()[0], "b", 0, 9)
    assert (first != second).float().mean() > 0.9
    assert (first != other).float().mean() > 0.9
    assert (first[0] != first[1]).any()


def test_copies_are_not_clipped_and_lie_on_a_grid_that_the_input_leaves_no_trace_on():
    x, smoothing = torch.tensor([0.1, 0.999, 0.0, 1.0, 1 / 3]), Smoothing(linear(), Gaussian(0.25))
    copies = torch.cat(list(smoothing._copies(x, "a", 0, 2000)))
    assert copies.min() < -0.3
    assert copies.max() > 1.3
    steps = copies.double() / (2.0**-2 * 2.0**-12)
    assert torch.equal(steps, steps.round())
    assert torch.allclose((copies - x).mean(0), torch.zeros(5), atol=0.02)
    assert float((copies - x).std()) == pytest.approx(0.25, rel=0.02)


def test_ties_and_answers_that_are_no_numbers_are_votes_for_nobody():
    def call(z):
        scores = torch.stack((z[:, 0], 1 - z[:, 0]), 1)
        scores[z[:, 0] > 0.7] = torch.nan
        scores[z[:, 0] < 0.2] = 0.0
        return scores

    counts = Smoothing(Model(call, classes=2), Gaussian(0.25)).counts(torch.full((1,), 0.5), "a", 4000)
    share = counts / 4000
    beyond = 1 - float(torch.special.ndtr(torch.tensor(0.8)))
    below = float(torch.special.ndtr(torch.tensor(-1.2)))
    assert float(share[0]) == pytest.approx(beyond + below, abs=0.03)


def test_labels_alone_suffice_and_the_shares_are_the_same():
    scores = linear()
    labels = scores.granting(Access.LABELS)
    x = inputs()
    assert torch.equal(Smoothing(scores, Gaussian(0.3)).scores(x), Smoothing(labels, Gaussian(0.3)).scores(x))


def test_gradients_are_those_of_the_mean_softmax():
    smoothing, x = Smoothing(linear(), Gaussian(0.3), votes=400), inputs().requires_grad_()
    with torch.enable_grad():
        out = smoothing.scores(x)
        (grad,) = torch.autograd.grad((out[:, 0] - out[:, 1]).sum(), x)
    assert torch.equal(out.detach(), smoothing.scores(x.detach()))
    copies = torch.cat(list(smoothing._copies(x[0].detach(), "answer", 0, 400))).requires_grad_()
    soft = torch.softmax(smoothing.base.call(copies), 1)
    (want,) = torch.autograd.grad((soft[:, 0] - soft[:, 1]).sum() / 400, copies)
    assert torch.allclose(grad[0], want.sum(0), atol=1e-5)


def test_a_sigma_in_other_units_is_refused():
    def at(sigma, domain):
        base = linear()
        return Model(base.call, domain, structure=Smoothing(base, Gaussian(sigma)))

    refuse_scale(at(0.25, Domain(0, 1)))
    refuse_scale(at(0.25, Domain()))
    refuse_scale(at(63.75, Domain(0, 255)))
    with pytest.raises(UsageError, match=r"input units.*\[0, 255\].*63\.75"):
        refuse_scale(at(0.25, Domain(0, 255)))
    with pytest.raises(UsageError, match=r"would here be 0\.25"):
        refuse_scale(at(63.75, Domain(0, 1)))
    assert smoothing_of(linear()) is None


def test_the_key_is_of_the_content():
    x = inputs()
    assert torch.equal(content_key(x[0], 0), content_key(x[0].clone(), 0))
    assert not torch.equal(content_key(x[0], 0), content_key(x[1], 0))
