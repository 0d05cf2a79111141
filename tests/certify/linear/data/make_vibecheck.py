"""Makes vibecheck.json beside this file: bounds and verdicts on random networks by vibecheck-nn, an independent verifier.

    python -m venv env
    env/bin/pip install torch==2.13.0 numpy scipy onnx==1.21.0 onnxruntime==1.26.0
    env/bin/pip install --no-deps vibecheck-nn==1.1.0
    env/bin/python make_vibecheck.py

It is installed without its other dependencies, of which it uses none here. Its bounds are run in float64: interval arithmetic,
and its backward pass with hidden ranges that the same pass gives, layer by layer, where intervals leave a sign open. Batch
norms are folded into convolutions by the exporter in float32, so those bounds are the same to about 1e-6.
"""

import json
import logging
from pathlib import Path

import numpy as np
import torch
import vibecheck
from vibecheck.core import backward, forward
from vibecheck.core.graph import load
from vibecheck_networks import SHAPES, network

HERE = Path(__file__).parent
EPS = {"dense": 0.25, "strided": 0.0625, "residual": 0.0625, "joined": 0.25, "pooled": 0.0625}


def both_sides(net, low, high, inter, edge=None):
    """Bounds of every number of an edge."""
    eye = torch.eye(net.ops[edge or net.output_name].n, dtype=torch.float64)
    lower = backward.crown(net, low, high, eye, inter=inter, start=edge)
    return lower, -backward.crown(net, low, high, -eye, inter=inter, start=edge)


def crown(net, low, high):
    """Bounds of the outputs, hidden ranges narrowed one after the other."""
    inter = {}
    for name in net.order:
        if net.ops[name].kind == "nonlin":
            edge = net.ops[name].inputs[0]
            least, most = forward.interval(net, low, high, return_state=True)[edge]
            if inter:
                tight = both_sides(net, low, high, inter, edge)
                open_ = (least < 0) & (most > 0)
                least = torch.where(open_, torch.maximum(least, tight[0]), least)
                most = torch.where(open_, torch.minimum(most, tight[1]), most)
            inter[name] = (least, most)
    return both_sides(net, low, high, inter)


def verdicts(path, net, low, high, bounds):
    """What it says of an output staying above thresholds, from hopeless to plain."""
    points = low + (high - low) * torch.rand(2000, low.shape[1], generator=torch.Generator().manual_seed(0)).double()
    seen = float(forward.point(net, points)[:, 0].min())
    told = []
    for share in (-0.5, 0.3, 1.2):  # between what was seen and what is proven
        limit = float(np.float32(seen + share * (float(bounds[0][0, 0]) - seen)))
        wanted = vibecheck.Spec(low[0].numpy(), high[0].numpy()).forbid([[-1.0, *[0.0] * (net.n_out - 1)]], [limit])
        found = vibecheck.verify(str(path), wanted, timeout=6, device="cpu")
        told.append([limit, found.verdict])
    return told


def main():
    """Write the file."""
    cases, path = [], HERE / "of_vibecheck.onnx"
    for kind in SHAPES:
        for seed in range(3):
            module, x = network(kind, seed)
            torch.onnx.export(module, x, str(path), dynamo=False)
            net = load(str(path), dtype=np.float64)
            low, high = (x.double() + sign * EPS[kind] for sign in (-1, 1))
            low, high = low.flatten(1), high.flatten(1)
            plain = forward.interval(net, low, high)
            tight = crown(net, low, high)
            case = {"kind": kind, "seed": seed, "eps": EPS[kind]}
            case["weights"] = sum(v.double().abs().sum().item() for v in module.state_dict().values())
            case["interval"], case["crown"] = ([side[0].tolist() for side in pair] for pair in (plain, tight))
            case["verdicts"] = verdicts(path, net, low, high, tight)
            cases.append(case)
            print(kind, seed, case["verdicts"])
    path.unlink()
    made = {"by": "vibecheck-nn 1.1.0, core.forward.interval, core.backward.crown and verify", "cases": cases}
    (HERE / "vibecheck.json").write_text(json.dumps(made))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main()
