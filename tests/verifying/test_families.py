"""Networks in the manner of the competition's families, as torch's exporter writes them: read, run, bounded, decided."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from robustly.certify.lines import lines
from robustly.certify.questions import Questions
from robustly.verifying.network import load_network
from robustly.verifying.properties import Property, Region, Row
from robustly.verifying.verify import verify

from .families import FAMILIES

pytest.importorskip("onnx", reason="onnx is an extra")
pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
EPS = 0.01


def exported(path, name: str, opset: int):
    """The file of a network with random weights and stored statistics."""
    make, shape, free = FAMILIES[name]
    torch.manual_seed(1)
    net = make().eval()
    for part in net.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    axes = {"x": {0: "batch"}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.rand(shape),),
            str(path),
            opset_version=opset,
            dynamo=False,
            input_names=["x"],
            dynamic_axes=axes,
        )
    return path


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("opset", [11, 17])
def test_a_family_is_read_bounded_and_decided(tmp_path, name, opset):
    net = load_network(exported(tmp_path / "net.onnx", name, opset))
    assert net.module is not None, net.why
    draw = np.random.default_rng(0)
    centre = draw.random(net.inputs).astype(np.float32)
    x = (centre + EPS * draw.uniform(-1, 1, (20, net.inputs))).astype(np.float32)
    values = net.ask(x)
    k = int(np.ptp(values, axis=0).argmax())
    low, high = (torch.from_numpy(centre).double()[None] + s * EPS for s in (-1, 1))
    rows = torch.zeros(1, 2, net.outputs, dtype=torch.float64)
    rows[0, 0, k], rows[0, 1, k] = 1, -1
    least = lines(net.module, net.inputs)(Questions(low, high, rows, torch.zeros(1, 2).double())).least[0]
    assert torch.isfinite(least).all()
    assert least[0] <= values[:, k].min()
    assert -least[1] >= values[:, k].max()
    region = (tuple(map(Fraction, low[0].tolist())), tuple(map(Fraction, high[0].tolist())))
    spread = float(np.ptp(values[:, k]))
    for bar, wanted in ((float(np.sort(values[:, k])[10]), "sat"), (float(-least[1]) + 1e-3 * (1 + spread), "unsat")):
        unsafe = ((Row(((k, Fraction(-1)),), -Fraction(bar)),),)
        task = Property(net.inputs, net.outputs, (Region(*region, unsafe),))
        assert verify(net, task, 20).verdict == wanted


def test_signs_have_a_slope_for_the_search_alone(tmp_path):
    net = load_network(exported(tmp_path / "net.onnx", "binary", 13))
    x = torch.rand(4, net.inputs, requires_grad=True)
    values = net.module(x)
    assert np.allclose(values.detach().numpy(), net.ask(x.detach().numpy()), atol=1e-6)
    (gradient,) = torch.autograd.grad(values[:, 0].sum(), x)
    assert (gradient.abs().amax(1) > 0).all()
