"""Fingerprints against a count of shared windows by hand, and on images."""

import pytest
import torch

from robustly.core.errors import UsageError
from robustly.defend.fingerprints import Fingerprints, fingerprints
from robustly.threats.base import Domain
from robustly.zoo.load import images

UNIT = Domain(0.0, 1.0)
SECRET = b"s" * 32


def detector(**settings):
    return Fingerprints(UNIT, **{"secret": SECRET, **settings})


def test_a_fingerprint_is_the_largest_hashes_of_distinct_windows():
    marks = detector(window=3, kept=5, shared=1)
    assert len(marks.fingerprint(bytes(range(6)))) == 4
    assert len(marks.fingerprint(bytes(range(40)))) == 5
    assert len(marks.fingerprint(bytes(40))) == 1
    assert marks.fingerprint(bytes(range(40))) < detector(window=3, kept=38, shared=1).fingerprint(bytes(range(40)))
    assert len(marks.fingerprint(b"ab")) == 1


def test_the_secret_decides():
    one, other = detector(), Fingerprints(UNIT)
    assert not one.fingerprint(bytes(range(200))) & other.fingerprint(bytes(range(200)))
    make = fingerprints(UNIT)
    assert make().fingerprint(b"x" * 30) == make().fingerprint(b"x" * 30)


def test_flagged_above_the_number_shared():
    """20 numbers in windows of 2: each change of one number takes away 2 of the 19 windows, at the ends 1."""
    base = (torch.arange(20, dtype=torch.float32) * 5 / 255)[None]
    for changed, shared in ((1, 18), (3, 17)):
        z = base.clone()
        z[0, [0, 5, 10][:changed]] = 1.0
        left = 19 - {1: 1, 3: 5}[changed]
        assert detector(step=1, window=2, kept=19, shared=left - 1).flag(torch.cat((base, z))).tolist() == [False, True]
        assert not detector(step=1, window=2, kept=19, shared=left).flag(torch.cat((base, z))).any()
        assert shared >= left


def test_steps_swallow_small_changes():
    x = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    levels = (x * 255 / 50).round() * 50 / 255
    assert detector().flag(torch.cat((levels, levels + 20 / 255))).tolist() == [False, True]
    assert detector(step=10).flag(torch.cat((levels, levels + 20 / 255))).tolist() == [False, False]


def test_units_do_not_matter():
    x = torch.rand(30, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    x[15:] = x[14] + 0.01 * x[15:]
    flags = detector().flag(x)
    assert torch.equal(Fingerprints(Domain(-2.0, 6.0), secret=SECRET).flag(x * 8 - 2), flags)
    assert flags[16:].all()
    assert not flags[:15].any()


def test_what_is_forgotten_is_gone():
    x = torch.rand(5, 100, generator=torch.Generator().manual_seed(0))
    watch = detector(most=3)
    assert watch.flag(torch.cat((x, x[:1], x[4:]))).tolist() == [False] * 6 + [True]
    assert len(watch._known) == 3
    assert sum(map(len, watch._where.values())) == sum(len(marks) for _, marks in watch._known)


def test_a_walk_around_an_image_is_seen_and_other_images_are_not():
    x, _, _ = images("fashion")
    watch = detector()
    assert watch.flag(x[:300]).float().mean() <= 0.01
    noise = 0.02 * torch.rand(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    walk = (x[400:401] + noise).clamp(0, 1)
    assert watch.flag(walk)[1:].float().mean() >= 0.9


@pytest.mark.parametrize(
    ("settings", "said"), [({"shared": 50}, "shared < kept"), ({"window": 0}, "window"), ({"step": 256}, "step")]
)
def test_impossible_settings(settings, said):
    with pytest.raises(UsageError, match=said):
        detector(**settings)


def test_a_range_without_ends():
    with pytest.raises(UsageError, match="finite range"):
        fingerprints(Domain())
