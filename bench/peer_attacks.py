"""The table of the peers' attacks; read only in the environment of the peers, where robustly is not (see bench/peer_worker.py).

Each takes a network, inputs (B, ...) in [0, 1], labels (B,) and a job (see `Job` in bench/peers.py) and returns points. The
steps are those of the peer's own argument of that meaning; `options` are handed on to its function under its own names. An
attack for the least distance pays no heed to eps.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import chdir
from typing import Any

import torch
from torch import Tensor, nn

from bench.peer_budget import Till, spend

Told = dict[str, Any]
Run = Callable[[nn.Module, Tensor, Tensor, Told], Tensor]
ORDER = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}
CAPITAL = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def foolbox_run(name: str, settings: Callable[[Told], Told], epsilon: bool = False) -> Run:
    """An attack class of Foolbox; with epsilon, one at a fixed radius."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        import foolbox

        model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(**settings(job) | job["options"])
        return attack(model, x, y, epsilons=job["eps"] if epsilon else None)[1 if epsilon else 0]

    return run


def foolbox_brendel_bethge(name: str) -> Run:
    """Brendel & Bethge's attack of Foolbox, started from the nearest image of the batch that is read as another class:
    its own start, blended noise, fails on a robust network."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        import foolbox

        read = _scores(net, x).argmax(1)
        gaps = torch.cdist(x.flatten(1), x.flatten(1)).masked_fill(read[None] == y[:, None], math.inf)
        start = x[gaps.argmin(1)]
        model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(**_steps(job) | job["options"])
        return attack.run(model, x, foolbox.criteria.Misclassification(y), starting_points=start)

    return run


def torchattacks_run(name: str, settings: Callable[[Told], Told]) -> Run:
    """An attack class of torchattacks."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        import torchattacks

        return getattr(torchattacks, name)(net, **settings(job) | job["options"])(x, y)

    return run


def advlib_run(name: str, settings: Callable[[Told], Told]) -> Run:
    """An attack function of adv-lib."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        from adv_lib import attacks

        return getattr(attacks, name)(net, x, y, **settings(job) | job["options"])

    return run


def art_run(name: str, settings: Callable[[Told], Told], runner_up: bool = False) -> Run:
    """An attack class of the Adversarial Robustness Toolbox; with runner_up, aimed at the likeliest wrong label."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        scores = _scores(net, x)
        model = PyTorchClassifier(
            Single(net),
            nn.CrossEntropyLoss(),
            tuple(x.shape[1:]),
            scores.shape[1],
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        given = {"batch_size": len(x), "verbose": False} | settings(job) | job["options"]
        attack = getattr(evasion, name)(model, **{k: v for k, v in given.items() if v is not None})
        told = _runner_up(scores, y) if runner_up else y
        return torch.from_numpy(attack.generate(x.numpy(), told.numpy()))

    return run


def within_budget(run: Run, one_by_one: bool = False) -> Run:
    """The nearest points that a query attack had asked when each example had cost `steps` queries, those of its start
    included; one_by_one for a peer that takes the examples in turn."""

    def stopped(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        till = Till(net, x, y, job["norm"], job["steps"]).eval()
        return spend(till, lambda some, labels: run(till, some, labels, job), one_by_one)

    return stopped


class Single(nn.Module):
    """A network that takes what it gets in float32; ART's Brendel & Bethge works in float64."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Tensor:
        """Scores (B, K)."""
        return self.net(z.float())


def torchattacks_transfer(name: str, settings: Callable[[Told], Told] = lambda job: {}) -> Run:
    """A transfer attack of torchattacks under linf, its step and radius those of the job."""
    return torchattacks_run(
        name, lambda j: {"eps": j["eps"], "alpha": j["size"] * j["eps"], "steps": j["steps"]} | settings(j)
    )


def torchattacks_coloured(name: str, settings: Callable[[Told], Told]) -> Run:
    """One of its attacks whose kernels are made for three channels: a grey network is shown the first of three."""

    def run(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        if x.shape[1] == 3:
            return torchattacks_run(name, settings)(net, x, y, job)
        return torchattacks_run(name, settings)(First(net).eval(), x.expand(-1, 3, -1, -1).clone(), y, job)[:, :1]

    return run


class First(nn.Module):
    """A network of grey images that takes three channels and looks at the first."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Tensor:
        """Scores (B, K)."""
        return self.net(z[:, :1])


def geoda_art(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """GeoDA of ART, which asks numpy for a name it no longer has, and leaves a table of cosines where it runs."""
    import numpy

    numpy.mat = numpy.asmatrix  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        run = art_run("GeoDA", lambda j: {"norm": ORDER[j["norm"]], "max_iter": j["steps"]})
        return run(net, x, y, job)


def torchattacks_jsma(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """JSMA of torchattacks, aimed at the likeliest wrong label; a step raises two pixels."""
    import torchattacks

    gamma = min(1.0, 2 * job["steps"] / x[0].numel())
    attack = torchattacks.JSMA(net, **{"gamma": gamma} | job["options"])
    wrong = _runner_up(_scores(net, x), y)
    attack.set_mode_targeted_by_function(lambda images, labels: wrong)
    return attack(x, y)


def authors_apgd(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """APGD as its authors wrote it, from the package pyautoattack; l1 in three shrinking balls, as in AutoAttack."""
    from pyautoattack.autopgd_base import APGDAttack

    given = {"n_iter": job["steps"], "use_largereps": job["norm"] == "l1", "loss": "ce"}
    attack = APGDAttack(net, norm=CAPITAL[job["norm"]], eps=job["eps"], seed=job["seed"], **given | job["options"])
    return attack.perturb(x, y)


def authors_apgd_t(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """Their APGD on the targeted DLR loss, against nine targets (five under l1), as in AutoAttack."""
    from pyautoattack.autopgd_base import APGDAttack_targeted

    sparse = job["norm"] == "l1"
    given = {"n_iter": job["steps"], "use_largereps": sparse, "n_target_classes": 5 if sparse else 9}
    norm = CAPITAL[job["norm"]]
    attack = APGDAttack_targeted(net, norm=norm, eps=job["eps"], seed=job["seed"], **given | job["options"])
    return attack.perturb(x, y)


def authors_square(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """Square as its authors wrote it, from the package pyautoattack."""
    from pyautoattack.square import SquareAttack

    settings = {"n_queries": job["steps"]} | job["options"]
    return SquareAttack(net, norm=CAPITAL[job["norm"]], eps=job["eps"], seed=job["seed"], **settings).perturb(x, y)


def authors_fab(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """FAB as its authors wrote it: what it broke within eps; with eps infinite the nearest point it found."""
    return _fab(net, x, y, job, targeted=False)


def authors_fab_t(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """Targeted FAB against nine targets; with eps infinite the nearest point over all of them."""
    return _fab(net, x, y, job, targeted=True)


def authors_autoattack(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """AutoAttack as its authors wrote it, from the package pyautoattack, in its own batches of 250; 'standard' unless the
    options say another version."""
    from pyautoattack import AutoAttack

    version = {"version": "standard"} | job["options"]
    attack = AutoAttack(net, norm=CAPITAL[job["norm"]], eps=job["eps"], seed=job["seed"], **version)
    attack.verbose = False
    return attack.run_standard_evaluation(x, y)[0]


def _fab(net: nn.Module, x: Tensor, y: Tensor, job: Told, targeted: bool) -> Tensor:
    """Their `perturb` leaves an example alone after its first success, which ends the search over targets; where the
    nearest point is wanted, their single runs are gone through instead."""
    from pyautoattack.fab_pt import FABAttack_PT

    radius = {"linf": 0.3, "l2": 1.0, "l1": 5.0}[job["norm"]] if math.isinf(job["eps"]) else job["eps"]
    settings = {"n_iter": job["steps"], "n_restarts": 1, "targeted": targeted} | job["options"]
    attack = FABAttack_PT(net, norm=CAPITAL[job["norm"]], eps=radius, seed=job["seed"], **settings)
    if not math.isinf(job["eps"]):
        return attack.perturb(x, y)
    best, nearest = x.clone(), torch.full((len(x),), math.inf)
    for target in range(2, attack.n_target_classes + 2) if targeted else (2,):
        attack.target_class = target
        for turn in range(attack.n_restarts):
            z = attack.attack_single_run(x, y, use_rand_start=turn > 0, is_targeted=targeted).detach()
            length = torch.linalg.vector_norm((z - x).flatten(1), ord=ORDER[job["norm"]], dim=1)
            better = (length > 0) & (length < nearest)
            nearest = torch.where(better, length, nearest)
            best = torch.where(better[:, None, None, None], z, best)
    return best


def _scores(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


def _runner_up(scores: Tensor, y: Tensor) -> Tensor:
    return scores.scatter(1, y[:, None], -math.inf).argmax(1)


def art_simba(basis: str) -> Run:
    """SimBA of ART, which wants probabilities and labels as one-hot rows; it asks both sides of every direction."""
    settings = art_run("SimBA", lambda j: {"attack": basis, "max_iter": j["steps"] // 2, "batch_size": 1})

    def run(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
        probable = nn.Sequential(net, nn.Softmax(1))
        return settings(probable, x, nn.functional.one_hot(y, _scores(net, x[:1]).shape[1]), job)

    return run


def foolbox_genattack(net: nn.Module, x: Tensor, y: Tensor, job: Told) -> Tensor:
    """GenAttack of Foolbox, which is targeted: at the likeliest wrong label. It asks its fittest anew in each generation."""
    import foolbox

    model = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    wanted = foolbox.criteria.TargetedMisclassification(_runner_up(_scores(net, x), y))
    attack = foolbox.attacks.GenAttack(**{"steps": job["steps"] // 10, "population": 10} | job["options"])
    return attack(model, x, wanted, epsilons=job["eps"])[1]


def _zoo_art(job: Told) -> Told:
    """64 coordinates a move, which ART asks two points each, and then the image; more than one image at once fails."""
    whole = {"use_resize": False, "use_importance": False, "binary_search_steps": 1, "batch_size": 1}
    return {"max_iter": max(1, job["steps"] // 129), "nb_parallel": 64} | whole


def _pixle(job: Told) -> Told:
    return {"restarts": max(1, job["steps"] // 10), "max_iterations": 10}


def _one_pixel(job: Told) -> Told:
    """Generations of 50, the first before the steps."""
    return {"pixels": int(job["eps"]), "popsize": 50, "steps": max(1, job["steps"] // 50 - 1)}


def _spsa(job: Told) -> Told:
    """Steps of 64 pairs."""
    rounds = {"nb_sample": 64, "nb_iter": max(1, job["steps"] // 128)}
    return {"eps": job["eps"], "lr": job["size"] * job["eps"], "max_batch_size": 64} | rounds


def _steps(job: Told) -> Told:
    return {"steps": job["steps"]}


def _iterations(job: Told) -> Told:
    return {"max_iter": job["steps"]}


def _unending(job: Told) -> Told:
    """More steps than any budget pays."""
    return {"steps": 25000}


def _hopskipjump_foolbox(job: Told) -> Told:
    return {"steps": 1000, "constraint": job["norm"]}


def _hopskipjump_art(job: Told) -> Told:
    return {"norm": ORDER[job["norm"]], "max_iter": 1000, "batch_size": 256}


def _pgd_art(job: Told) -> Told:
    step = {"eps": job["eps"], "eps_step": job["eps"] * job["size"]}
    return {**step, "max_iter": job["steps"], "num_random_init": 1, "norm": ORDER[job["norm"]]}


def _rounds_art(job: Told) -> Told:
    """ART's C&W and EAD: rounds of the search for the constant, and steps in each."""
    return {"max_iter": job["steps"], "binary_search_steps": 9}


def _patchwise(job: Told) -> Told:
    return {"max_epsilon": job["eps"], "num_iter_set": job["steps"]}


ATTACKS: dict[tuple[str, str, str], Run] = {
    ("Foolbox", "pgd", "linf"): foolbox_run(
        "LinfPGD", lambda j: {"rel_stepsize": j["size"], "steps": j["steps"]}, True
    ),
    ("torchattacks", "pgd", "linf"): torchattacks_run(
        "PGD", lambda j: {"eps": j["eps"], "alpha": j["size"] * j["eps"], "steps": j["steps"]}
    ),
    ("adv-lib", "pgd", "linf"): advlib_run(
        "pgd_linf", lambda j: {"ε": j["eps"], "steps": j["steps"], "relative_step_size": j["size"]}
    ),
    ("ART", "pgd", "linf"): art_run("ProjectedGradientDescent", _pgd_art),
    ("Foolbox", "pgd", "l2"): foolbox_run("L2PGD", lambda j: {"rel_stepsize": j["size"], "steps": j["steps"]}, True),
    ("torchattacks", "pgd", "l2"): torchattacks_run(
        "PGDL2", lambda j: {"eps": j["eps"], "alpha": j["size"] * j["eps"], "steps": j["steps"]}
    ),
    ("ART", "pgd", "l2"): art_run("ProjectedGradientDescent", _pgd_art),
}
ATTACKS |= {
    ("torchattacks", "mifgsm", "linf"): torchattacks_transfer("MIFGSM"),
    ("torchattacks", "nifgsm", "linf"): torchattacks_transfer("NIFGSM"),
    ("torchattacks", "difgsm", "linf"): torchattacks_transfer("DIFGSM"),
    ("torchattacks", "tifgsm", "linf"): torchattacks_coloured(
        "TIFGSM", lambda j: {"eps": j["eps"], "alpha": j["size"] * j["eps"], "steps": j["steps"]}
    ),
    ("torchattacks", "sinifgsm", "linf"): torchattacks_transfer("SINIFGSM"),
    ("torchattacks", "vmifgsm", "linf"): torchattacks_transfer("VMIFGSM"),
    ("torchattacks", "vnifgsm", "linf"): torchattacks_transfer("VNIFGSM"),
    ("torchattacks", "pifgsm", "linf"): torchattacks_coloured("PIFGSM", _patchwise),
    ("torchattacks", "pifgsmpp", "linf"): torchattacks_coloured("PIFGSMPP", _patchwise),
}
for _norm in ("linf", "l2"):
    ATTACKS |= {
        ("torchattacks", "apgd", _norm): torchattacks_run(
            "APGD",
            lambda j: {"norm": CAPITAL[j["norm"]], "eps": j["eps"], "steps": j["steps"], "seed": j["seed"]},
        ),
        ("adv-lib", "apgd", _norm): advlib_run(
            "apgd", lambda j: {"eps": j["eps"], "norm": ORDER[j["norm"]], "n_iter": j["steps"], "loss_function": "ce"}
        ),
        ("torchattacks", "square", _norm): torchattacks_run(
            "Square",
            lambda j: {"norm": CAPITAL[j["norm"]], "eps": j["eps"], "n_queries": j["steps"], "seed": j["seed"]},
        ),
        ("adv-lib", "trust_region", _norm): advlib_run("tr", lambda j: {"iter": j["steps"], "p": ORDER[j["norm"]]}),
        ("adv-lib", "trust_region_adaptive", _norm): advlib_run(
            "tr", lambda j: {"iter": j["steps"], "p": ORDER[j["norm"]], "adaptive": True}
        ),
        ("adv-lib", "deepfool", _norm): advlib_run("df", lambda j: {"steps": j["steps"], "norm": ORDER[j["norm"]]}),
    }
for _norm in ("linf", "l2", "l1"):
    ATTACKS |= {
        ("authors", "apgd", _norm): authors_apgd,
        ("authors", "apgd_t", _norm): authors_apgd_t,
        ("authors", "fab", _norm): authors_fab,
        ("authors", "fab_t", _norm): authors_fab_t,
        ("authors", "square", _norm): authors_square,
        ("authors", "autoattack", _norm): authors_autoattack,
        ("adv-lib", "fab", _norm): advlib_run("fab", lambda j: {"n_iter": j["steps"], "norm": ORDER[j["norm"]]}),
    }
for _norm in ("linf", "l2", "l1", "l0"):
    _name = {"linf": "LInf", "l2": "L2", "l1": "L1", "l0": "L0"}[_norm]
    _brendel = f"{'Linfinity' if _norm == 'linf' else _name}BrendelBethgeAttack"
    ATTACKS |= {
        ("Foolbox", "fmn", _norm): foolbox_run(f"{_name}FMNAttack", _steps),
        ("Foolbox", "brendel_bethge", _norm): foolbox_brendel_bethge(_brendel),
        ("adv-lib", "fmn", _norm): advlib_run("fmn", lambda j: {"steps": j["steps"], "norm": ORDER[j["norm"]]}),
        ("adv-lib", "pdpgd", _norm): advlib_run("pdpgd", lambda j: {"num_steps": j["steps"], "norm": ORDER[j["norm"]]}),
        ("ART", "brendel_bethge", _norm): art_run(
            "BrendelBethgeAttack", lambda j: {"steps": j["steps"], "norm": ORDER[j["norm"]], "verbose": None}
        ),
    }
ATTACKS |= {
    ("Foolbox", "cw", "l2"): foolbox_run("L2CarliniWagnerAttack", _steps),
    ("adv-lib", "cw", "l2"): advlib_run("carlini_wagner_l2", lambda j: {"max_iterations": j["steps"]}),
    ("torchattacks", "cw", "l2"): torchattacks_run("CW", _steps),
    ("ART", "cw", "l2"): art_run("CarliniL2Method", _rounds_art),
    ("adv-lib", "cw", "linf"): advlib_run("carlini_wagner_linf", lambda j: {"max_iterations": j["steps"]}),
    ("ART", "cw", "linf"): art_run("CarliniLInfMethod", _iterations),
    ("ART", "cw", "l0"): art_run("CarliniL0Method", _rounds_art),
    ("Foolbox", "ddn", "l2"): foolbox_run("DDNAttack", _steps),
    ("adv-lib", "ddn", "l2"): advlib_run("ddn", lambda j: {"steps": j["steps"], "levels": None}),
    ("adv-lib", "alma", "l2"): advlib_run("alma", lambda j: {"num_steps": j["steps"], "distance": "l2"}),
    ("adv-lib", "alma", "l1"): advlib_run("alma", lambda j: {"num_steps": j["steps"], "distance": "l1"}),
    ("adv-lib", "pdgd", "l2"): advlib_run("pdgd", lambda j: {"num_steps": j["steps"]}),
    ("adv-lib", "superdeepfool", "l2"): advlib_run("sdf", _steps),
    ("Foolbox", "boundary", "l2"): within_budget(foolbox_run("BoundaryAttack", _unending)),
    ("ART", "boundary", "l2"): within_budget(
        art_run("BoundaryAttack", lambda j: {"targeted": False, "batch_size": 256}), one_by_one=True
    ),
    ("Foolbox", "hopskipjump", "l2"): within_budget(foolbox_run("HopSkipJumpAttack", _hopskipjump_foolbox)),
    ("Foolbox", "hopskipjump", "linf"): within_budget(foolbox_run("HopSkipJumpAttack", _hopskipjump_foolbox)),
    ("ART", "hopskipjump", "l2"): within_budget(art_run("HopSkipJump", _hopskipjump_art), one_by_one=True),
    ("ART", "hopskipjump", "linf"): within_budget(art_run("HopSkipJump", _hopskipjump_art), one_by_one=True),
    ("Foolbox", "deepfool", "l2"): foolbox_run("L2DeepFoolAttack", _steps),
    ("Foolbox", "deepfool", "linf"): foolbox_run("LinfDeepFoolAttack", _steps),
    ("torchattacks", "deepfool", "l2"): torchattacks_run("DeepFool", _steps),
    ("ART", "deepfool", "l2"): art_run("DeepFool", _iterations),
    ("Foolbox", "ead", "l1"): foolbox_run("EADAttack", lambda j: {"steps": j["steps"], "decision_rule": "L1"}),
    ("torchattacks", "ead", "l1"): torchattacks_run("EADL1", lambda j: {"max_iterations": j["steps"]}),
    ("ART", "ead", "l1"): art_run("ElasticNet", lambda j: _rounds_art(j) | {"decision_rule": "L1"}),
    ("adv-lib", "sigma_zero", "l0"): advlib_run("sigma_zero", lambda j: {"num_steps": j["steps"]}),
    ("adv-lib", "vfga", "l0"): advlib_run("vfga", lambda j: {"max_iter": j["steps"], "targeted": False}),
    ("torchattacks", "sparsefool", "l0"): torchattacks_run("SparseFool", _steps),
    ("torchattacks", "jsma", "l0"): torchattacks_jsma,
    ("torchattacks", "pixle", "l0"): torchattacks_run("Pixle", _pixle),
    ("torchattacks", "one_pixel", "l0"): torchattacks_run("OnePixel", _one_pixel),
    ("torchattacks", "spsa", "linf"): torchattacks_run("SPSA", _spsa),
    ("Foolbox", "genattack", "linf"): foolbox_genattack,
    ("ART", "simba", "l2"): art_simba("px"),
    ("ART", "simba_dct", "l2"): art_simba("dct"),
    ("ART", "zoo", "l2"): art_run("ZooAttack", _zoo_art),
    ("ART", "square", "linf"): art_run(
        "SquareAttack", lambda j: {"eps": j["eps"], "max_iter": j["steps"], "norm": ORDER[j["norm"]], "p_init": 0.8}
    ),
    ("ART", "one_pixel", "l0"): art_run(
        "PixelAttack",
        lambda j: {"th": int(j["eps"]), "es": 1, "max_iter": max(1, j["steps"] // 400 - 1), "batch_size": None},
    ),
    ("ART", "jsma", "l0"): art_run(
        "SaliencyMapMethod", lambda j: {"theta": 1.0, "gamma": min(1.0, 2 * j["steps"] / j["pixels"])}, runner_up=True
    ),
}
ATTACKS |= {
    ("ART", "signopt", "l2"): within_budget(
        art_run("SignOPTAttack", lambda j: {"targeted": False, "query_limit": j["steps"]}), one_by_one=True
    ),
}
for _norm in ("linf", "l2"):
    ATTACKS["ART", "geoda", _norm] = within_budget(geoda_art, one_by_one=True)
