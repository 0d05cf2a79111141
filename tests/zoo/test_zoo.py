"""The carried example is what its cards say, and its script makes the same thing twice."""

import dataclasses
import gzip
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from robustly import zoo
from robustly.core.errors import UsageError
from robustly.zoo import make
from robustly.zoo.load import images, network
from robustly.zoo.training import EPS, RECIPES, lowest_margins, pgd_walk, train

NETWORKS = ("fashion_plain", "fashion_adversarial", "fashion_certified")


@pytest.fixture(autouse=True)
def one_thread():
    """Training is the same to the bit for one number of threads, and batches this small gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def accuracy(net, x, y):
    return (net(x).argmax(1) == y).float().mean().item()


def attacked(net, x, y, steps=10):
    """The last points of a bare PGD, written apart from the one that trained the networks."""
    rng = torch.Generator().manual_seed(3)
    z = (x + EPS * (2 * torch.rand(x.shape, generator=rng) - 1)).clip(0, 1)
    for _ in range(steps):
        z = z.clone().requires_grad_()
        cross_entropy(net(z), y, reduction="sum").backward()
        z = z.detach() + EPS / 4 * z.grad.sign()
        z = torch.minimum(torch.maximum(z, x - EPS), x + EPS).clip(0, 1)
    return z


def test_names_and_cards_have_no_gaps():
    assert zoo.names() == NETWORKS
    assert zoo.data_names() == ("fashion",)
    for name in NETWORKS:
        entry = zoo.describe(name)
        assert entry.name == name
        assert entry.kind == "network"
        assert entry.title
        assert "arXiv 1708.07747" in entry.source
        assert entry.licence == "MIT"
        assert len(entry.classes) == 10
        assert entry.domain == (0.0, 1.0)
        assert entry.eps == EPS
        assert 0 <= entry.certified <= entry.pgd <= entry.clean <= 1
    assert zoo.describe("fashion").kind == "images"


def test_networks_are_as_good_as_they_are_meant_to_be():
    plain, adversarial, certified = (zoo.describe(name) for name in NETWORKS)
    assert plain.clean >= 0.90
    assert adversarial.clean >= 0.83
    assert adversarial.pgd >= 0.73
    assert certified.clean >= 0.72
    assert certified.certified >= 0.60


def test_images_are_balanced_and_in_range():
    x, y, classes = images()
    assert x.shape == (1000, 1, 28, 28)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert y.dtype == torch.int64
    assert y.bincount().tolist() == [100] * 10
    assert classes[0] == "T-shirt/top"
    assert len(x.flatten(1).unique(dim=0)) > 990


@pytest.mark.parametrize("name", NETWORKS)
def test_clean_and_certified_accuracy_equal_the_card(name):
    x, y, _ = images()
    net = network(name)
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    card = zoo.describe(name)
    assert accuracy(net, x, y) == pytest.approx(card.clean, abs=1e-6)
    proved = (lowest_margins(net, x, y, EPS) > 0).sum(1) == 9
    assert proved.float().mean().item() == pytest.approx(card.certified, abs=1e-6)


def test_pgd_breaks_the_plain_network_and_not_the_robust_ones():
    x, y, _ = (part[:200] if isinstance(part, torch.Tensor) else part for part in images())
    robust = {name: accuracy(net := network(name), attacked(net, x, y), y) for name in NETWORKS}
    assert robust["fashion_plain"] < 0.15
    assert robust["fashion_adversarial"] > robust["fashion_plain"] + 0.5
    assert robust["fashion_certified"] > robust["fashion_plain"] + 0.4


def test_pgd_breaks_nothing_that_intervals_proved():
    x, y, _ = images()
    net = network("fashion_certified")
    proved = (lowest_margins(net, x, y, EPS) > 0).sum(1) == 9
    assert accuracy(net, attacked(net, x[proved], y[proved], steps=5), y[proved]) == 1


def test_pgd_walk_stays_in_the_ball_and_climbs():
    x, y, _ = images()
    x, y, net = x[:100], y[:100], network("fashion_plain")
    points = list(pgd_walk(net, x, y, EPS, 10, 0.2, torch.Generator().manual_seed(0)))
    assert len(points) == 10
    for z in points:
        assert (z - x).abs().max() <= EPS + 1e-6
        assert 0 <= z.min() <= z.max() <= 1
    assert cross_entropy(net(points[-1]), y) > cross_entropy(net(points[0]), y) + 1
    assert accuracy(net, points[-1], y) < 0.1


def test_lowest_margins_enclose_sampled_margins_and_meet_them_at_radius_zero():
    x, y, _ = images()
    x, y = x[:20], y[:20]
    net = network("fashion_plain")

    def margins(z):
        scores = net(z)
        return scores.gather(1, y[:, None]) - scores

    assert torch.allclose(lowest_margins(net, x, y, 0.0), margins(x), atol=1e-4)
    low = lowest_margins(net, x, y, 0.02)
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        z = (x + 0.02 * torch.randn(x.shape, generator=rng).sign()).clip(0, 1)
        assert (margins(z) >= low - 1e-4).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_training_is_decided_by_its_seed(name):
    x, y, _ = images()
    first, again, other = (train(RECIPES[name], x, y, seed, steps=3).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_training_learns_and_leaves_the_global_random_state_alone():
    x, y, _ = images()
    state = torch.get_rng_state()
    net = train(RECIPES["fashion_plain"], x, y, 0, steps=40)
    network("fashion_plain")
    assert torch.equal(torch.get_rng_state(), state)
    assert accuracy(net, x, y) > 0.4


def write_source(folder):
    """A Fashion-MNIST of twice 1200 images in the format of the original files."""
    x, y, _ = images()
    raw = (x.squeeze(1) * 255).round().to(torch.uint8).numpy(), y.to(torch.uint8).numpy()
    for part in ("train", "t10k"):
        pixels, labels = (np.concatenate([data, data[:200]]).tobytes() for data in raw)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels))


def test_make_writes_the_same_files_twice(tmp_path, monkeypatch):
    write_source(tmp_path)
    monkeypatch.setattr(make, "PER_CLASS", 10)
    tiny = dataclasses.replace(RECIPES["fashion_adversarial"], epochs=1)
    monkeypatch.setitem(make.RECIPES, "fashion_adversarial", tiny)
    for out in ("a", "b"):
        make.make(tmp_path, tmp_path / out, "fashion_adversarial", seed=1)
    for name in ("fashion_adversarial.safetensors", "fashion.npz", "cards.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    card = json.loads((tmp_path / "a" / "cards.json").read_text())["entries"]["fashion_adversarial"]
    assert {"clean", "pgd", "certified"} <= card.keys()


def test_make_says_where_the_source_is_to_be_had(tmp_path):
    run = [sys.executable, "-m", "robustly.zoo.make", "--source", str(tmp_path), "--out", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "dataset-fashion-mnist" in done.stderr
    assert "train-images-idx3-ubyte.gz" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("ask", "wrong", "right"),
    [
        (network, "fashion_plane", "fashion_plain"),
        (images, "fashoin", "fashion"),
        (zoo.describe, "fashion_certifed", "fashion_certified"),
    ],
)
def test_unknown_name_is_answered_with_the_nearest(ask, wrong, right):
    with pytest.raises(UsageError, match=re.escape(f'"{wrong}"') + ".*" + re.escape(f'"{right}"')):
        ask(wrong)


def test_readme_has_the_figures_of_the_cards():
    cards = json.loads((zoo.FOLDER / "cards.json").read_text(encoding="utf-8"))["entries"]
    assert make.table(cards) in (zoo.FOLDER / "README.md").read_text(encoding="utf-8")
    assert "Copyright (c) 2017 Zalando SE" in (zoo.FOLDER / "LICENSE-fashion-mnist").read_text(encoding="utf-8")


def test_all_files_together_are_small():
    assert sum(file.stat().st_size for file in zoo.FOLDER.iterdir() if file.is_file()) < 4e6


def test_listing_the_zoo_does_not_import_torch():
    code = "import sys, robustly.zoo as z; [z.describe(n) for n in z.names()]; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
