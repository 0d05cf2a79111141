"""Networks with a counterexample hidden in them, whose truth is known without any verifier.

`trained`: a network taught to be right wherever an attack looks, and wrong at one planted point (in the manner of Zhou et al.
2024, SoundnessBench, arXiv:2412.03154: adversarial training around an input together with a margin loss at the planted point, here
on small multilayer perceptrons). `spike`: a network that is constant but for a cross-polytope of a known radius around a planted
point, written down rather than trained, so that it is known on both sides of its threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustly.core import keys
from robustly.verifying.properties import Property, Region, Row


@dataclass(frozen=True)
class Needle:
    """A network of n inputs, a box float32 (n,), and what is known of it.

    label: the class that must win all over the box; other: the one that wins at `planted`, float32 (n,), where sat is True.
    """

    module: nn.Module
    lower: Tensor
    upper: Tensor
    label: int
    other: int
    planted: Tensor
    sat: bool

    @property
    def property(self) -> Property:
        """Some other class is at least as large as the label: exact in the box's own floats."""
        ends = [tuple(Fraction(v) for v in t.tolist()) for t in (self.lower, self.upper)]
        classes = self.module(self.lower[None]).shape[1]
        one, label = Fraction(1), self.label
        unsafe = tuple((Row(((label, one), (k, -one)), Fraction(0)),) for k in range(classes) if k != label)
        return Property(len(self.lower), classes, (Region(ends[0], ends[1], unsafe),))


def trained(
    seed: int, inputs: int = 20, width: int = 48, classes: int = 3, eps: float = 0.2, margin: float = 0.02, steps: int = 400
) -> Needle:
    """A needle of two hidden layers, made in a second or two; the same seed gives the same one.

    The planted point lies at least 0.95 eps from the middle in every input, where random starts hardly come. Training ends with
    the margin loss at the planted point alone, so it is wrong there whatever the other objective says.

    Raises:
        RuntimeError: the planted point did not become wrong.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)
        )
    key = keys.from_ids(seed, ["needle"])
    middle = keys.uniform(key, (inputs,))[0]
    sides, share = keys.uniform(keys.fold(key, 1), (2, inputs))[0]
    planted = middle + eps * (0.95 + 0.05 * share) * torch.where(sides < 0.5, -1.0, 1.0)
    label, other = 0, 1
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    window: list[Tensor] = []
    for step in range(steps):
        window = [*window[-15:], _attacked(net, middle, eps, label, keys.fold(key, 2, step))]
        near = torch.cat(window)
        right = F.cross_entropy(net(near), torch.full((len(near),), label))
        wrong = (margin - _gap(net, planted, label, other)).clamp_min(0)
        optimiser.zero_grad()
        (right + 5 * wrong).backward()
        optimiser.step()
    last = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(2000):
        gap = _gap(net, planted, label, other)
        if float(gap) >= margin:
            break
        last.zero_grad()
        (-gap).backward()
        last.step()
    net.requires_grad_(False).eval()
    if float(_gap(net, planted, label, other)) < margin / 2:
        raise RuntimeError(f"seed {seed}: the planted point did not become wrong. Use another seed or more steps.")
    lower, upper = middle - eps, middle + eps
    return Needle(net, torch.minimum(lower, planted), torch.maximum(upper, planted), label, other, planted, True)


def _gap(net: nn.Module, x: Tensor, label: int, other: int) -> Tensor:
    scores = net(x[None])[0]
    return scores[other] - scores[label]


def _attacked(net: nn.Module, middle: Tensor, eps: float, label: int, key: Tensor) -> Tensor:
    """Sixteen points of the box after eight steps of ascent on the cross-entropy, one of them a random point."""
    x = middle + eps * (2 * keys.uniform(key, (16, len(middle)))[0] - 1)
    for _ in range(8):
        z = x.detach().requires_grad_()
        loss = F.cross_entropy(net(z), torch.full((len(z),), label), reduction="sum")
        x = middle + (z + 0.25 * eps * torch.autograd.grad(loss, z)[0].sign() - middle).clamp(-eps, eps)
    return x.detach()


def spike(seed: int, inputs: int = 4, radius: float = 0.25, height: float = 1.0, threshold: float = 0.9) -> Needle:
    """Scores (threshold, height * max(0, 1 - |x - c|_1 / radius)): class 1 wins within (1 - threshold / height) radius of c.

    All numbers are multiples of 2^-10, so float32 makes no error at c: sat exactly where height >= threshold.
    """
    key = keys.from_ids(seed, ["spike"])
    centre = (keys.uniform(key, (inputs,))[0] * 1024).round() / 1024
    first, second = nn.Linear(inputs, 2 * inputs), nn.Linear(2 * inputs, 1)
    last = nn.Linear(1, 2)
    eye = torch.eye(inputs)
    with torch.no_grad():
        first.weight.copy_(torch.cat((eye, -eye)))
        first.bias.copy_(torch.cat((-centre, centre)))
        second.weight.fill_(-1 / radius)
        second.bias.fill_(1.0)
        last.weight.copy_(torch.tensor([[0.0], [height]]))
        last.bias.copy_(torch.tensor([threshold, 0.0]))
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last).requires_grad_(False).eval()
    return Needle(net, torch.zeros(inputs), torch.ones(inputs), 0, 1, centre, height >= threshold)


def saved(needle: Needle, path: Path) -> Path:
    """The network as an ONNX file of Gemm and Relu nodes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, name = [], [], "x"
    assert isinstance(needle.module, nn.Sequential)
    for i, layer in enumerate(needle.module):
        if isinstance(layer, nn.Linear):
            parts = (f"w{i}", layer.weight), (f"b{i}", layer.bias)
            weights += [numpy_helper.from_array(np.ascontiguousarray(v.numpy()), n) for n, v in parts]
            nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"v{i}"], transB=1))
        else:
            nodes.append(helper.make_node("Relu", [name], [f"v{i}"]))
        name = f"v{i}"
    classes = needle.module(needle.lower[None]).shape[1]
    graph = helper.make_graph(
        nodes,
        "needle",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(needle.lower)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, classes])],
        weights,
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path
