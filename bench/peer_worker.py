"""Runs in the environment of the peers, without robustly: one attack of one peer on one case (see bench/peers.py)."""

from __future__ import annotations

import importlib.util
import json
import random
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.peer_attacks import ATTACKS
from bench.peer_budget import Till, spend

warnings.filterwarnings("ignore")


class Counted(nn.Module):
    """A network that counts the examples that pass forward and backward through it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, z: Tensor) -> Tensor:
        """Scores (B, K)."""
        self.forwards += len(z)
        out = self.net(z)
        if out.requires_grad:
            out.register_hook(self._back)
        return out

    def _back(self, grad: Tensor) -> None:
        self.backwards += len(grad)


def traced(case: str, told: str) -> dict[str, Any]:
    """Run a job on each example alone, for each of its seeds; the traces, by seed and example."""
    job = json.loads(told)
    torch.set_num_threads(job["threads"])
    tensors = load_file(case)
    net = network(job["net"], job["weights"])
    run, out, begun = ATTACKS[job["peer"], job["attack"], job["norm"]], [], time.perf_counter()
    for seed in job["seeds"]:
        row = []
        for x, y in zip(tensors["x"].split(1), tensors["y"].split(1), strict=True):
            torch.manual_seed(seed)
            numpy.random.seed(seed)
            random.seed(seed)
            till = Till(net, x, y, job["norm"], job["budget"]).eval()
            told_now = {**job, "seed": seed, "pixels": x.numel()}
            spend(
                till, lambda some, labels, till=till, now=told_now: run(till, some.clone(), labels.clone(), now), True
            )
            row.append(till.traces[0])
        out.append(row)
    return {"traces": out, "seconds": time.perf_counter() - begun}


def bare(net: nn.Module, x: Tensor, y: Tensor, job: dict[str, Any]) -> None:
    """The least that `steps` forward and backward passes of PGD under linf can cost."""
    eps, step = job["eps"], job["eps"] * job["size"]
    low, high, z = (x - eps).clamp_min(0), (x + eps).clamp_max(1), x
    for _ in range(job["steps"]):
        z = z.detach().requires_grad_()
        (grad,) = torch.autograd.grad(nn.functional.cross_entropy(net(z), y, reduction="sum"), z)
        z = torch.minimum(torch.maximum(z.detach() + step * grad.sign(), low), high)


def network(net: str, weights: str) -> nn.Module:
    """The network that FILE.py:FUNCTION[:ARGUMENT] makes, with its weights, in evaluation mode and frozen."""
    file, function, *arguments = net.split(":")
    found = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    made = getattr(module, function)(*arguments)
    if weights:
        made.load_state_dict(load_file(weights))
    return made.eval().requires_grad_(False)


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main(case: str, out: str, told: str) -> dict[str, Any]:
    """Run a job and save the points; what it cost."""
    job = json.loads(told)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    tensors = load_file(case)
    x, y = tensors["x"], tensors["y"]
    job["pixels"] = x[0].numel()
    net = Counted(network(job["net"], job["weights"])).eval()
    run = ATTACKS[job["peer"], job["attack"], job["norm"]]
    begun = time.perf_counter()
    z = run(net, x.clone(), y.clone(), job)
    took = time.perf_counter() - begun
    cost = {"forward": net.forwards, "backward": net.backwards}
    save_file({"x": z.detach().float().contiguous()}, out)
    ratios = [
        seconds(lambda: run(net, x.clone(), y.clone(), job)) / seconds(lambda: bare(net.net, x, y, job))
        for _ in range(job["rounds"])
    ]
    return {**cost, "seconds": took, "ratio": statistics.median(ratios) if ratios else None}


def many(case: str, out: str, told: str, each: str) -> None:
    """Run the jobs of a file one after another, waiting to be told to go on before the next overwrites the points."""

    def ended(number: int, frame: Any) -> None:
        raise TimeoutError(f"longer than {each} s")

    signal.signal(signal.SIGALRM, ended)
    jobs = json.loads(Path(told).read_text())
    for place, job in enumerate(jobs):
        signal.setitimer(signal.ITIMER_REAL, float(each))
        try:
            answer = main(case, out, json.dumps(job))
        except Exception as failed:
            answer = {"failed": f"{type(failed).__name__}: {failed}"[-400:]}
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        print(f"answer: {json.dumps(answer)}", flush=True)
        if place < len(jobs) - 1:
            sys.stdin.readline()


if __name__ == "__main__":
    if sys.argv[1] == "many":
        many(*sys.argv[2:])
    elif sys.argv[1] == "trace":
        print(f"\n{json.dumps(traced(*sys.argv[2:]))}")
    elif sys.argv[1] == "list":
        print(json.dumps({"attacks": [list(row) for row in ATTACKS]}))
    else:
        print(json.dumps(main(*sys.argv[2:])))
