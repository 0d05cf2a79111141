"""Runs in the environment of the peers, without robustly: one attack of one peer on one case (see bench/peers.py)."""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

warnings.filterwarnings("ignore")
ORDER = {"linf": float("inf"), "l2": 2}
Run = Callable[[nn.Module, Tensor, Tensor, dict[str, Any]], Tensor]


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


def foolbox_run(make: Callable[[Any, dict[str, Any]], Any], epsilon: bool = True) -> Run:
    """A Foolbox attack; with epsilon False, one that looks for the least distance."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: dict[str, Any]) -> Tensor:
        import foolbox

        model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        attack = make(foolbox.attacks, job)
        return attack(model, x, y, epsilons=job["eps"] if epsilon else None)[1 if epsilon else 0]

    return run


def torchattacks_run(make: Callable[[Any, nn.Module, dict[str, Any]], Any]) -> Run:
    """An attack of torchattacks."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: dict[str, Any]) -> Tensor:
        import torchattacks

        return make(torchattacks, net, job)(x, y)

    return run


def advlib_run(name: str, arguments: Callable[[dict[str, Any]], dict[str, Any]]) -> Run:
    """An attack function of adv-lib."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: dict[str, Any]) -> Tensor:
        from adv_lib import attacks

        return getattr(attacks, name)(net, x, y, **arguments(job))

    return run


def art_pgd(net: nn.Module, x: Tensor, y: Tensor, job: dict[str, Any]) -> Tensor:
    """PGD of the Adversarial Robustness Toolbox."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = net.net(x[:1]).shape[1]
    model = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    settings = {"eps": job["eps"], "eps_step": job["eps"] * job["size"], "max_iter": job["steps"], "num_random_init": 1}
    attack = ProjectedGradientDescent(model, ORDER[job["norm"]], batch_size=len(x), verbose=False, **settings)
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def authors_apgd(net: nn.Module, x: Tensor, y: Tensor, job: dict[str, Any]) -> Tensor:
    """APGD as its authors wrote it, from the package pyautoattack."""
    from pyautoattack.autopgd_base import APGDAttack

    norm = {"linf": "Linf", "l2": "L2"}[job["norm"]]
    return APGDAttack(net, n_iter=job["steps"], norm=norm, eps=job["eps"], seed=job["seed"], loss="ce").perturb(x, y)


def authors_square(net: nn.Module, x: Tensor, y: Tensor, job: dict[str, Any]) -> Tensor:
    """Square as its authors wrote it, from the package pyautoattack."""
    from pyautoattack.square import SquareAttack

    norm = {"linf": "Linf", "l2": "L2"}[job["norm"]]
    return SquareAttack(net, norm=norm, n_queries=job["steps"], eps=job["eps"], seed=job["seed"]).perturb(x, y)


def _norm(job: dict[str, Any]) -> str:
    return {"linf": "Linf", "l2": "L2"}[job["norm"]]


ATTACKS: dict[tuple[str, str, str], Run] = {
    ("Foolbox", "pgd", "linf"): foolbox_run(lambda a, j: a.LinfPGD(rel_stepsize=j["size"], steps=j["steps"])),
    ("torchattacks", "pgd", "linf"): torchattacks_run(
        lambda a, net, j: a.PGD(net, eps=j["eps"], alpha=j["size"] * j["eps"], steps=j["steps"])
    ),
    ("adv-lib", "pgd", "linf"): advlib_run(
        "pgd_linf", lambda j: {"ε": j["eps"], "steps": j["steps"], "relative_step_size": j["size"]}
    ),
    ("ART", "pgd", "linf"): art_pgd,
    ("Foolbox", "pgd", "l2"): foolbox_run(lambda a, j: a.L2PGD(rel_stepsize=j["size"], steps=j["steps"])),
    ("torchattacks", "pgd", "l2"): torchattacks_run(
        lambda a, net, j: a.PGDL2(net, eps=j["eps"], alpha=j["size"] * j["eps"], steps=j["steps"])
    ),
    ("ART", "pgd", "l2"): art_pgd,
    ("Foolbox", "cw", "l2"): foolbox_run(lambda a, j: a.L2CarliniWagnerAttack(steps=j["steps"]), epsilon=False),
    ("adv-lib", "cw", "l2"): advlib_run("carlini_wagner_l2", lambda j: {"max_iterations": j["steps"]}),
    ("torchattacks", "cw", "l2"): torchattacks_run(lambda a, net, j: a.CW(net, steps=j["steps"])),
}
for _name in ("linf", "l2"):
    ATTACKS |= {
        ("torchattacks", "apgd", _name): torchattacks_run(
            lambda a, net, j: a.APGD(net, norm=_norm(j), eps=j["eps"], steps=j["steps"], seed=j["seed"])
        ),
        ("adv-lib", "apgd", _name): advlib_run(
            "apgd", lambda j: {"eps": j["eps"], "norm": ORDER[j["norm"]], "n_iter": j["steps"], "loss_function": "ce"}
        ),
        ("authors", "apgd", _name): authors_apgd,
        ("torchattacks", "square", _name): torchattacks_run(
            lambda a, net, j: a.Square(net, norm=_norm(j), eps=j["eps"], n_queries=j["steps"], seed=j["seed"])
        ),
        ("authors", "square", _name): authors_square,
    }


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


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print(json.dumps({"attacks": [list(row) for row in ATTACKS]}))
    else:
        print(json.dumps(main(*sys.argv[2:])))
