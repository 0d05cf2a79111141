"""Each corruption does what it is named for, more so with severity, and their set is all of them."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.ndimage
import torch

from robustly.core import keys
from robustly.core.errors import UsageError
from robustly.threats import Corrupt, Domain
from robustly.threats.corruptions import KINDS, blur, digital, elastic, glass, light, noise, weather

UNIT = Domain(0.0, 1.0)


UNEVEN = ("pixelate", "glass_blur", "elastic_transform", "frost")
"""The authors' severities of these aren't in the order of their squared errors: how blocks or pixels meet the edges of things
matters more, or more ice comes with less light."""


def scene(channels=3, side=32, count=2):
    """Smooth ground, a bright square, and some texture."""
    g = torch.Generator().manual_seed(0)
    line = torch.linspace(0.2, 0.7, side, dtype=torch.float64)
    x = (line[:, None] * line[None]).sqrt().expand(count, channels, -1, -1).clone()
    x[:, :, 8:16, 8:16] = 0.9
    return (x + 0.05 * torch.rand(x.shape, generator=g)).clamp(0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [32, 80])
@pytest.mark.parametrize("kind", KINDS)
def test_severity_grows_and_rows_stand_apart(kind, side, channels):
    x = scene(channels, side)
    done = [KINDS[kind](x, s) for s in range(1, 6)]
    assert all(z.shape == x.shape and z.amin() >= 0 and z.amax() <= 1 for z in done)
    far = [float((z - x).square().mean()) for z in done]
    assert min(far) > 0
    if kind not in UNEVEN:
        assert far[0] < far[4]
        assert all(a <= 1.5 * b for a, b in pairwise(far))
    assert torch.equal(KINDS[kind](x[1:], 3), done[2][1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 4), (1, 4, 4), (3, 9, 5)])
def test_any_size_works(kind, shape):
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).double()
    for severity in (1, 5):
        assert torch.isfinite(KINDS[kind](x, severity)).all()


def test_all_fifteen_of_the_paper_are_there():
    assert len(KINDS) == 15


def test_gaussian_noise_has_its_scale():
    x = torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64)
    assert abs(float((noise.gaussian_noise(x, 5) - x).std()) - 0.10) < 0.003
    wide = torch.full((1, 3, 80, 80), 0.5, dtype=torch.float64)
    assert abs(float((noise.gaussian_noise(wide, 1) - wide).std()) - 0.08) < 0.003


def test_shot_noise_has_the_variance_of_photons():
    """Mean x, variance x / c, and whole numbers of photons."""
    for level in (0.1, 0.5):
        x = torch.full((1, 1, 64, 64), level, dtype=torch.float64)
        z = noise.shot_noise(x, 4)
        assert abs(float(z.mean()) - level) < 0.004
        assert abs(float(z.var()) - level / 75) < 0.1 * level / 75
        assert torch.allclose(z * 75, (z * 75).round(), atol=1e-9)
    assert not noise.shot_noise(torch.zeros(1, 1, 4, 4).double(), 5).any()


def test_impulse_noise_is_salt_and_pepper():
    x = torch.full((1, 3, 64, 64), 0.5, dtype=torch.float64)
    z = noise.impulse_noise(x, 5)
    for level in (0, 1):
        assert abs(float((z == level).double().mean()) - 0.035) < 0.006
    assert ((z == 0) | (z == 1) | (z == 0.5)).all()


def point(side=33):
    x = torch.zeros(1, 1, side, side, dtype=torch.float64)
    x[0, 0, side // 2, side // 2] = 1
    return x


@pytest.mark.parametrize("severity", range(1, 6))
def test_defocus_spreads_a_point_evenly_around(severity):
    z = blur.defocus_blur(point(), severity)
    assert torch.allclose(z.sum(), torch.tensor(1.0).double())
    assert torch.allclose(z, z.flip(2)) and torch.allclose(z, z.transpose(2, 3))  # noqa: PT018
    large = blur.defocus_blur(point(81), severity)
    radius = (3, 4, 6, 8, 10)[severity - 1]
    assert large[0, 0, 40, 40 + radius - 1] > 0
    assert large[0, 0, 40, 40 + radius + 3] == 0


def test_motion_draws_a_point_out_to_the_right():
    z = blur.motion_blur(point(), 3)[0, 0]
    assert torch.allclose(z.sum(), torch.tensor(1.0).double())
    assert not z[:, :16].any()
    assert not z[:16].any()
    assert torch.allclose(z[16, 18] / z[16, 16], torch.tensor(-4 / 8).double().exp())  # sigma 2


def test_zoom_keeps_the_middle_and_pushes_the_rest_outwards():
    x = torch.linspace(0, 1, 33, dtype=torch.float64).expand(1, 1, 33, 33)
    z = blur.zoom_blur(x, 5)
    assert torch.allclose(z[..., 16], x[..., 16])
    factor = (1 + sum(1 / (1 + 0.01 * k) for k in range(26))) / 27
    assert torch.allclose(z - 0.5, (x - 0.5) * factor, atol=1e-9)


def test_zoom_takes_as_many_factors_as_the_authors():
    """numpy's arange, whose length depends on how the end is rounded; a slope through the middle sums their inverses."""
    ends = {
        32: [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01)],
        80: [(1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    }
    for side, table in ends.items():
        x = torch.linspace(0, 1, side, dtype=torch.float64).expand(1, 1, side, side)
        for severity, (end, step) in enumerate(table, start=1 if side == 32 else 2):
            factors = np.arange(1, end, step)
            slope = (1 + (1 / factors).sum()) / (1 + len(factors))
            assert torch.allclose(blur.zoom_blur(x, severity) - 0.5, (x - 0.5) * slope, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.5])
def test_glass_softens_as_the_reference(sigma):
    x = scene(1, 20, 1)
    want = scipy.ndimage.gaussian_filter(x[0, 0].numpy(), sigma, mode="nearest", truncate=4.0)
    assert torch.allclose(glass.softened(x, sigma)[0, 0], torch.from_numpy(want), atol=1e-9)


def test_glass_moves_pixels_as_the_authors_assignment_does():
    """Their line swaps two views of one array, by which the second is lost; here with the offsets that are drawn."""
    height, width, reach, times = 9, 11, 2, 3
    offsets = keys.integers(keys.from_ids(0, [f"glass blur {reach}"]), 4, (times, height, width, 2))[0].numpy() - reach
    picture = np.arange(height * width * 3).reshape(height, width, 3)
    for one in offsets:
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                right, down = one[h, w]
                picture[h, w], picture[h + down, w + right] = picture[h + down, w + right], picture[h, w]
    source = glass.places(height, width, reach, times)
    assert np.array_equal(picture[..., 0].ravel() // 3, source.numpy())
    x = scene(3, 32, 1)
    z = glass.glass_blur(x, 1)  # its blur is that of one pixel: what is left is the shuffle
    assert not torch.allclose(z, x, atol=0.02)
    assert set(z.flatten().tolist()) <= {v / 255 for v in range(256)} | set(z[..., :2, :].flatten().tolist())


def test_elastic_pieces_as_the_reference():
    g = torch.Generator().manual_seed(1)
    field = torch.rand(12, 9, generator=g).double()
    for sigma in (0.5, 3.0, 20.0):  # wider than the field, too
        want = scipy.ndimage.gaussian_filter(field.numpy(), sigma, mode="reflect", truncate=3.0)
        mine = elastic.smoothing(12, sigma) @ field @ elastic.smoothing(9, sigma).T
        assert torch.allclose(mine, torch.from_numpy(want), atol=1e-12)
    rows, columns = 40 * torch.rand(12, 9, generator=g).double() - 15, 40 * torch.rand(12, 9, generator=g).double() - 15
    places = np.stack([rows.numpy(), columns.numpy()])
    for border, mode in ((elastic.half, "reflect"), (elastic.whole, "mirror")):
        want = scipy.ndimage.map_coordinates(field.numpy(), places, order=1, mode=mode)
        mine = elastic.sampled(field[None, None], rows, columns, border)[0, 0]
        inside = (
            (rows > 0) & (rows < 11) & (columns > 0) & (columns < 8)
        )  # scipy rounds the mirror's own edge otherwise
        assert torch.allclose(mine[inside], torch.from_numpy(want)[inside], atol=1e-9)
        pad = np.pad(field.numpy(), 5, mode="symmetric" if mode == "reflect" else "reflect")
        at = torch.arange(-5, 17)
        assert np.array_equal(field[border(at, 12)][:, border(torch.arange(-5, 14), 9)].numpy(), pad)


def test_elastic_moves_three_points_where_it_says():
    before, after = [[4.0, 5.0], [4.0, 1.0], [0.0, 1.0]], [[4.5, 5.5], [3.0, 1.0], [0.2, 0.7]]
    back = elastic.from_where(after, before)
    found = torch.cat((torch.tensor(after), torch.ones(3, 1)), 1).double() @ back
    assert torch.allclose(found, torch.tensor(before).double(), atol=1e-6)
    rows, columns = elastic.affine(12, 12, 0.0)
    assert torch.allclose(rows[:, 0], torch.arange(12.0).double())
    assert torch.allclose(columns[0], torch.arange(12.0).double())
    flat = torch.full((1, 3, 32, 32), 0.3, dtype=torch.float64)
    assert torch.allclose(elastic.elastic_transform(flat, 3), flat)  # moved, never recoloured


def test_snow_whitens_and_adds_flakes_that_fall_and_their_half_turn():
    dark = torch.zeros(1, 3, 80, 80, dtype=torch.float64)
    z = weather.snow(dark, 2)
    flakes = weather.layer(80, 80, 0.2, 0.3, 2.0, 0.5, 12, 4.0)
    assert torch.allclose(z[0, 0], (0.15 + flakes + flakes.flip(0, 1)).clamp(0, 1))  # (1 - 0.7) of 0.5
    assert torch.allclose(z, z.flip(2, 3))
    assert 0.01 < float((flakes > 0.1).double().mean()) < 0.9
    assert flakes.diff(dim=0).abs().mean() < 0.5 * flakes.diff(dim=1).abs().mean()  # drawn out downwards
    bright = torch.ones_like(dark)
    assert torch.equal(weather.snow(bright, 1), bright)


def test_frost_dims_and_lays_bluish_ice():
    x = torch.full((1, 3, 80, 80), 0.2, dtype=torch.float64)
    pattern = weather.ice(80, 80)
    assert pattern.amin() == 0
    assert pattern.amax() == 1
    z = weather.frost(x, 2)
    for channel, tint in enumerate(weather.ICE):
        assert torch.allclose(z[0, channel], (0.16 + 0.6 * tint * pattern).clamp(0, 1))
    assert (z[:, 2] >= z[:, 0]).all()


def test_brightness_raises_the_largest_channel_and_keeps_the_hue():
    x = torch.tensor([0.6, 0.3, 0.0]).double().reshape(1, 3, 1, 1)
    assert torch.allclose(light.brightness(x, 4).flatten(), torch.tensor([0.8, 0.4, 0.0]).double())
    assert torch.allclose(light.brightness(torch.zeros_like(x), 4), torch.full_like(x, 0.2))


def test_contrast_draws_towards_the_mean():
    x = scene()
    z = light.contrast(x, 5)
    assert torch.allclose(z.mean((2, 3)), x.mean((2, 3)))
    assert torch.allclose(z.std((2, 3)), 0.15 * x.std((2, 3)))


def test_fog_is_smooth_and_lifts_the_dark():
    x = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    x[0, 0, 0, 0] = 1
    z = light.fog(x, 5)
    assert z.mean() > 0.2
    assert z.amax() <= 1
    cloud = light.cloud(32, 32, 2.0)
    assert cloud.amin() == 0
    assert cloud.amax() == 1
    assert cloud.diff(dim=0).abs().mean() < 0.5 * cloud.std()


def test_pixelate_repeats_means():
    x = scene(1, 80)
    z = digital.pixelate(x, 5)  # a quarter of the size
    assert torch.equal(z[:, :, 0:4, 0:4], z[:, :, :1, :1].expand(-1, -1, 4, 4))
    assert torch.allclose(z[:, :, 0, 0], x[:, :, :4, :4].mean((2, 3)))
    assert len(z[0].unique()) <= 400


def test_jpeg_as_a_real_encoder_stores_grey_images():
    """Pillow's decoder rounds its transform otherwise: a level or two, here and there."""
    Image = pytest.importorskip("PIL.Image")
    import io

    import numpy as np

    x = (scene(1, 32, 1) * 255).round() / 255
    for severity, quality in ((1, 80), (3, 58), (5, 40)):
        file = io.BytesIO()
        Image.fromarray((x[0, 0] * 255).round().byte().numpy()).save(file, "JPEG", quality=quality)
        real = torch.from_numpy(np.array(Image.open(file))).double()
        own = digital.jpeg(x, severity)[0, 0] * 255
        assert (own - real).abs().mean() < 0.3
        assert (own - real).abs().amax() <= 6


def test_jpeg_as_a_real_encoder_stores_colour():
    Image = pytest.importorskip("PIL.Image")
    import io

    import numpy as np

    x = scene(3, 32, 1)
    x[:, 0], x[:, 2] = x[:, 0] * 0.5, x[:, 2].flip(2)
    x = (x * 255).round() / 255
    file = io.BytesIO()
    picture = (x[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(file, "JPEG", quality=50, subsampling=0)
    real = torch.from_numpy(np.array(Image.open(file))).double().permute(2, 0, 1)
    own = digital.jpeg(x, 4)[0] * 255
    assert (own - real).abs().mean() < 0.5
    assert (own - real).abs().mean() < 0.2 * (x[0] * 255 - real).abs().mean()


def test_the_set_is_every_kind_at_every_severity_up_to_eps():
    x = scene(1, 12).float()
    around = Corrupt(2).at(x, UNIT)
    assert around.count == 1 + 2 * len(KINDS)
    made = {c.name: around.member(n + 1) for n, c in enumerate(around.changes)}
    assert set(made) == {f"{k} {s}" for k in KINDS for s in (1, 2)}
    for name, z in made.items():
        kind, severity = name.split()
        assert torch.allclose(z, KINDS[kind](x.double(), int(severity)).float(), atol=2e-6)
        assert around.contains(z).all()
        assert (around.distance(z) <= int(severity)).all()
    assert not around.contains(KINDS["fog"](x.double(), 3).float()).any()


def test_another_range_is_the_same_picture():
    x = scene(3, 12).float()
    here, there = Corrupt(3).at(x, UNIT), Corrupt(3).at(255 * x, Domain(0, 255))
    for n in range(here.count):
        assert torch.allclose(there.member(n), 255 * here.member(n), atol=2e-3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Corrupt(6), "0 to 5"),
        (lambda: Corrupt(1.5), "whole"),
        (lambda: Corrupt(2, ("fogg",)), '"fog"'),
        (lambda: Corrupt(2, ()), "each once"),
        (lambda: Corrupt(2, ("fog", "fog")), "each once"),
        (lambda: Corrupt(2).at(torch.zeros(1, 2, 4, 4), UNIT), "grey or RGB"),
        (lambda: Corrupt(2).at(torch.zeros(1, 8), UNIT), "shape"),
    ],
)
def test_refused(make, says):
    with pytest.raises(UsageError, match=says):
        make()
