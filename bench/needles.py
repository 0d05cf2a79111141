"""Networks with a counterexample hidden in them, whose truth is known without any verifier.

`trained`: a network taught to be right wherever an attack looks, and wrong at one planted point (in the manner of Zhou et al.
2024, SoundnessBench, arXiv:2412.03154: adversarial training around an input together with a margin loss at the planted point; here
the perceptron is small, so a spike at that point is put in before the second half of the training). `spike`: a network that is constant but for a cross-polytope of a known radius around a planted
point, written down rather than trained, so that it is known on both sides of its threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
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
    seed: int,
    inputs: int = 12,
    width: int = 32,
    classes: int = 3,
    eps: float = 0.2,
    margin: float = 0.02,
    steps: int = 150,
) -> Needle:
    """A needle of two hidden layers, made in a second or two; the same seed gives the same one.

    First a network learns to be right all over the box, against attacks. Then a spike at a random point is put in among its
    neurons, and training goes on with both objectives: right at attacked points, wrong by `margin` at the planted one. An attack
    sees the spike only from within an l1 distance of some 0.15 eps an input, so it has to be lucky.

    Raises:
        RuntimeError: the planted point did not become wrong.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, classes)
    key = keys.from_ids(seed, ["needle"])
    middle = keys.uniform(key, (inputs,))[0]
    planted = middle + eps * (2 * keys.uniform(keys.fold(key, 1), (inputs,))[0] - 1)
    label, other = 0, 1
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    _taught(net, middle, eps, label, None, margin, keys.fold(key, 2), steps)
    height = float(_lead(net, planted[None], label).detach()) * -1 + 4 * margin
    net = _implanted(net, planted, 0.15 * eps * inputs, height, other)
    _taught(net, middle, eps, label, (planted, other), margin, keys.fold(key, 3), steps // 5)
    net.requires_grad_(False).eval()
    if float(_gap(net, planted, label, other)) < margin / 2:
        raise RuntimeError(f"seed {seed}: the planted point did not become wrong. Use another seed or more steps.")
    lower, upper = middle - eps, middle + eps
    return Needle(net, torch.minimum(lower, planted), torch.maximum(upper, planted), label, other, planted, True)


def attacked(net: nn.Module, lower: Tensor, upper: Tensor, label: int, key: Tensor, count: int, steps: int) -> Tensor:
    """Points (count, n) of a box after `steps` signed steps that make some other class lead, from random starts."""
    x = lower + (upper - lower) * keys.uniform(key, (count, len(lower)))[0]
    for step in range(steps):
        z = x.detach().requires_grad_()
        slope = torch.autograd.grad(_lead(net, z, label).sum(), z)[0].sign()
        x = torch.clamp(z + 0.3 * (1 - step / steps) * (upper - lower) * slope, lower, upper)
    return x.detach()


def _taught(
    net: nn.Module,
    middle: Tensor,
    eps: float,
    label: int,
    planted: tuple[Tensor, int] | None,
    margin: float,
    key: Tensor,
    steps: int,
) -> None:
    """Adam on both objectives; points that an attack finds stay in the window for four steps."""
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3 if planted is None else 3e-4)
    window: list[Tensor] = []
    for step in range(steps):
        window = [*window[-3:], attacked(net, middle - eps, middle + eps, label, keys.fold(key, step), 16, 8)]
        near = torch.cat(window)
        loss = (_lead(net, near, label) + 10 * margin).clamp_min(0).mean()
        if planted is not None:
            loss = loss + 5 * (2 * margin - _gap(net, planted[0], label, planted[1])).clamp_min(0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _lead(net: nn.Module, x: Tensor, label: int) -> Tensor:
    """By how much the best other class leads (N,)."""
    scores = net(x)
    return (scores[:, torch.arange(scores.shape[1]) != label] - scores[:, [label]]).amax(1)


def _gap(net: nn.Module, x: Tensor, label: int, other: int) -> Tensor:
    scores = net(x[None])[0]
    return scores[other] - scores[label]


def _implanted(net: nn.Sequential, centre: Tensor, radius: float, height: float, other: int) -> nn.Sequential:
    """The same network with height * max(0, 1 - |x - centre|_1 / radius) added to one score, its neurons among the others."""
    first, second, last = (layer for layer in net if isinstance(layer, nn.Linear))
    n, wide = first.in_features, first.out_features
    eye, none = torch.eye(n), torch.zeros
    one, two = nn.Linear(n, wide + 2 * n), nn.Linear(wide + 2 * n, second.out_features + 1)
    three = nn.Linear(second.out_features + 1, last.out_features)
    with torch.no_grad():
        one.weight.copy_(torch.cat((first.weight, eye, -eye)))
        one.bias.copy_(torch.cat((first.bias, -centre, centre)))
        distance = torch.cat((none(1, wide), torch.full((1, 2 * n), -1 / radius)), 1)
        two.weight.copy_(torch.cat((torch.cat((second.weight, none(second.out_features, 2 * n)), 1), distance)))
        two.bias.copy_(torch.cat((second.bias, torch.ones(1))))
        raised = none(last.out_features, 1)
        raised[other] = height
        three.weight.copy_(torch.cat((last.weight, raised), 1))
        three.bias.copy_(last.bias)
    return nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)


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
