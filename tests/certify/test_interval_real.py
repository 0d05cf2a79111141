"""Interval bounds on networks that others trained, against an attack and against plain interval arithmetic."""

import importlib.util
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from robustly.attacks.pgd import pgd
from robustly.certify.interval import interval
from robustly.core import keys
from robustly.goals import Goal
from robustly.losses import margin
from robustly.oracle import Model, Oracle
from robustly.steps import Case
from robustly.threats import Domain, Linf

SHARED = Path(__file__).parents[3] / "shared" / "data"
COUNT = 200


@pytest.fixture(scope="module")
def shared():
    if not (SHARED / "load.py").exists():
        pytest.skip("the folder of real models and data is absent")
    found = importlib.util.spec_from_file_location("shared_load", SHARED / "load.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def plain(net, low, high, y):
    """Interval arithmetic without rounding, layer by layer: the textbook form, on centre and radius, in float64."""
    for layer in net:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            centre, radius = (low + high) / 2, (high - low) / 2
            w, b = layer.weight.double(), layer.bias.double()
            if layer is net[-1]:
                v, c = w[y][:, None] - w, b[y][:, None] - b
                gaps = (v * centre[:, None]).sum(2) + c - (v.abs() * radius[:, None]).sum(2)
                return gaps.scatter(1, y[:, None], float("inf")).amin(1)
            if isinstance(layer, nn.Linear):
                mid, rad = centre @ w.T + b, radius @ w.abs().T
            else:
                mid = torch.conv2d(centre, w, b, layer.stride, layer.padding)
                rad = torch.conv2d(radius, w.abs(), None, layer.stride, layer.padding)
            low, high = mid - rad, mid + rad
        else:
            low, high = layer(low), layer(high)
    raise AssertionError("the last layer is linear")


@pytest.mark.parametrize("eps", [0.0, 0.0005, 0.002, 0.1])
def test_a_real_network_is_bounded_as_by_plain_arithmetic_and_the_attack_stays_above(shared, eps):
    net = shared.model("kw_mnist").requires_grad_(False)
    x, y = shared.data("mnist")
    x, y, domain = x[:COUNT], y[:COUNT], Domain(0, 1)
    model, goal, around = Model(call=net, module=net, domain=domain), Goal(y), Linf(eps).at(x, domain)
    begun = time.monotonic()
    found = interval()(model, around, goal)
    seconds = time.monotonic() - begun
    assert seconds < 10  # 0.3 s on one core
    x64 = x.double()
    textbook = plain(net, (x64 - eps).clamp(0, 1), (x64 + eps).clamp(0, 1), y)
    assert (found.lower <= textbook).all()
    assert (textbook - found.lower <= 0.15 + 1e-3 * textbook.abs()).all()  # what rounding costs here
    oracle = Oracle(model, around, goal, press_on=True)
    pgd(5, 0.3, margin)(Case(around, goal, keys.from_ids(0, [str(i) for i in range(COUNT)]), oracle))
    assert (oracle.ledger.best_margin >= found.lower).all()
    print(f"kw_mnist linf:{eps:g}: {int(found.certified.sum())} of {COUNT} certified, {seconds:.2f} s")
    if eps <= 0.0005:
        assert found.certified.sum() > 150


def test_residual_and_pooling_networks_of_others_can_be_walked(shared):
    for name, data in (("resnet20_cifar", "cifar10"), ("trades_mnist", "mnist"), ("advertorch_adv_mnist", "mnist")):
        net, (x, y) = shared.model(name), shared.data(data)
        found = interval()(Model(call=net, module=net, domain=Domain(0, 1)), Linf(0.0).at(x[:4]), Goal(y[:4]))
        assert torch.isfinite(found.lower).all(), (name, found.why)
