"""Noises: drawn as they are named, and their radii never beyond the worst event there is."""

import pytest
import torch
from scipy import stats

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.steps.noises import NOISES, Gaussian, Laplace, Uniform, parse_noise

LAWS = {
    "gaussian": lambda s: stats.norm(0, s),
    "laplace": lambda s: stats.laplace(0, s / 2**0.5),
    "uniform": lambda s: stats.uniform(-(3**0.5) * s, 2 * 3**0.5 * s),
}


@pytest.mark.parametrize("name", NOISES)
def test_draws_follow_their_law(name):
    noise, key = NOISES[name](0.3), keys.from_ids(0, [str(i) for i in range(40)])
    drawn = noise.draw(key, (501,))
    assert drawn.dtype is torch.float64
    assert stats.kstest(drawn.flatten().numpy(), LAWS[name](0.3).cdf).pvalue > 0.01
    assert float(drawn.std()) == pytest.approx(0.3, rel=0.02)
    assert abs(float((drawn[:, :250] * drawn[:, 250:500]).mean())) < 0.003  # the halves of a pair
    assert torch.equal(drawn[7:9], noise.draw(key[7:9], (501,)))


@pytest.mark.parametrize("name", NOISES)
def test_radius_after_and_needed_agree(name):
    noise, share = NOISES[name](0.3), torch.tensor([0.6, 0.9, 0.999], dtype=torch.float64)
    radius = noise.radius(share)
    half = torch.full_like(share, 0.5)
    assert torch.allclose(noise.after(share, radius), half)
    assert torch.allclose(noise.needed(radius), share)
    assert torch.allclose(noise.after(share, torch.zeros(())), share)
    assert (noise.radius(torch.tensor([0.2, 0.5], dtype=torch.float64)) == 0).all()
    assert (noise.after(share, 2 * radius) < half).all()


@pytest.mark.parametrize("name", NOISES)
def test_no_event_falls_below_the_bound_and_one_reaches_it(name):
    """Half-lines under one-dimensional noise, which are the worst events for all three, and a random event."""
    law, noise = LAWS[name](0.3), NOISES[name](0.3)
    for share in (0.6, 0.9, 0.99):
        edge = law.ppf(share)
        for distance in (0.05, 0.2, 0.4):
            p, d = (torch.tensor(v, dtype=torch.float64) for v in (share, distance))
            bound, true = float(noise.after(p, d)), law.cdf(edge - distance)
            assert bound <= true + 1e-9
            if true >= 0.5:
                assert bound == pytest.approx(true, abs=1e-9)
            points = torch.linspace(-3, 3, 4001, dtype=torch.float64).numpy()
            event = (points * 7 % 1 < 0.7).astype(float)  # a comb
            mass, moved = law.pdf(points), law.pdf(points - distance)
            at, after = (float((event * m).sum() / m.sum()) for m in (mass, moved))
            assert float(noise.after(torch.tensor(at, dtype=torch.float64), d)) <= after + 1e-3


def test_texts():
    assert parse_noise(0.25) == Gaussian(0.25) == parse_noise(str(Gaussian(0.25)))
    assert parse_noise("laplace:1") == Laplace(1.0)
    assert parse_noise("uniform:63.75") == Uniform(63.75)
    for wrong, told in (("gauss:1", "gaussian"), ("x", "sigma"), ("0", "above 0"), ("uniform:nan", "above 0")):
        with pytest.raises(UsageError, match=told):
            parse_noise(wrong)
