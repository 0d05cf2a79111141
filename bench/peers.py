"""The peers' attacks, run in an environment of their own: python -m bench.peers install, then `run_peer`.

Their requirements contradict ours and each other's, so they never share a process with us: a case goes there as a file
of tensors, and what the peer returned comes back as one, with the passes it cost, counted inside the model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".bench-env"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
MAKE_IT = "make bench-env"
READY = ENVIRONMENT / "ready"
WORKER = ROOT / "bench" / "peer_worker.py"
ANSWER = "answer: "
"""How a line of the worker begins that is meant for us; a peer may print others."""

NEEDED = (
    "torch==2.13.0", "numpy==2.4.6", "scipy==1.17.1", "scikit-learn==1.9.1", "safetensors==0.8.0",
    "setuptools==80.10.2", "eagerpy==0.30.0", "GitPython==3.2.1", "typing-extensions==4.16.0", "requests==2.34.2",
    "tqdm==4.70.1", "six==1.17.0", "packaging==26.3", "llvmlite==0.50.0", "numba==0.68.1",
)  # fmt: skip
PEERS = (  # without what they ask for: torchattacks pins an old requests, adv-lib wants torchvision and visdom
    "foolbox==3.3.4", "torchattacks==3.5.1", "adv-lib==0.2.8", "adversarial-robustness-toolbox==1.20.1",
    "pyautoattack==0.2.0",
)  # fmt: skip
STUBS = {"torchvision": "models = None\n", "visdom": "class Visdom:\n    pass\n"}
"""What adv-lib imports but the attacks compared here never use; stand-ins within that environment only."""

ZOO = ROOT / "src" / "robustly" / "zoo"


Traces = tuple[tuple[tuple[tuple[int, float], ...], ...], ...]
"""Of an attack, by seed and example: (queries, distance) whenever it came nearer."""


@dataclass(frozen=True)
class Job:
    """What a peer is to do.

    peer, attack, norm: names in the table of bench/peer_worker.py. net: FILE.py:FUNCTION or FILE.py:FUNCTION:ARGUMENT,
    which makes the network; weights: a safetensors file for it, or "". eps, size: the radius, and a step as a fraction
    of it. steps: gradient steps, or queries. rounds: timed repetitions, each beside a bare loop of `steps` passes.
    options: further arguments of the peer's own function or class, under its names.
    """

    peer: str
    attack: str
    norm: str
    net: str
    weights: str = ""
    eps: float = 0.1
    steps: int = 40
    size: float = 0.1
    seed: int = 0
    rounds: int = 0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What it did: the points (B, ...), passes counted inside the model, seconds, and their ratio to the bare loop."""

    x: Tensor
    forward: int
    backward: int
    seconds: float
    ratio: float | None


def zoo_net(name: str) -> dict[str, str]:
    """The `net` and `weights` of a carried network."""
    return {"net": f"{ZOO / 'architecture.py'}:small_convnet", "weights": str(ZOO / f"{name}.safetensors")}


def available() -> bool:
    """Whether the environment with the peers has been made."""
    return READY.exists()


def peers_of(attack: str, norm: str) -> tuple[str, ...]:
    """The peers that have an attack."""
    return tuple(peer for peer, name, there in _table() if (name, there) == (attack, norm))


def run_peer(job: Job, x: Tensor, y: Tensor, timeout: float = 600) -> Done:
    """Run a peer's attack on inputs x (B, ...) in [0, 1] with labels y (B,).

    Raises:
        RuntimeError: the environment is missing, or the peer failed; with its last words.
    """
    if not available():
        raise RuntimeError(f"the peers are not installed; say {MAKE_IT}.")
    with tempfile.TemporaryDirectory() as folder:
        case, out = Path(folder) / "case.safetensors", Path(folder) / "out.safetensors"
        save_file({"x": x.contiguous(), "y": y.contiguous()}, case)
        told = json.dumps({**asdict(job), "threads": torch.get_num_threads()})
        result = _worker(["run", str(case), str(out), told], timeout)
        return Done(load_file(out)["x"], **result)


def trace_peer(
    job: Job, x: Tensor, y: Tensor, budget: int, seeds: Sequence[int], timeout: float = 3600
) -> tuple[Traces, float]:
    """How near a peer's attack had come after so many queries, for each seed and example, and its seconds: lists of
    (queries, distance). Each example is run alone, and ends after `budget` queries.

    Raises:
        RuntimeError: the environment is missing, or the peer failed; with its last words.
    """
    if not available():
        raise RuntimeError(f"the peers are not installed; say {MAKE_IT}.")
    with tempfile.TemporaryDirectory() as folder:
        case = Path(folder) / "case.safetensors"
        save_file({"x": x.contiguous(), "y": y.contiguous()}, case)
        told = json.dumps({**asdict(job), "threads": torch.get_num_threads(), "budget": budget, "seeds": list(seeds)})
        result = _worker(["trace", str(case), told], timeout)
    return tuple(tuple(tuple((n, d) for n, d in one) for one in seed) for seed in result["traces"]), result["seconds"]


def run_many(jobs: Sequence[Job], x: Tensor, y: Tensor, each: float = 300) -> Iterator[Done | str]:
    """Run many jobs on the same examples in one process, which saves its start; each ends after `each` seconds.

    Yields, in the order of the jobs, what each did, or its last words where it failed or ran out of time.

    Raises:
        RuntimeError: the environment is missing, or the process itself died.
    """
    if not available():
        raise RuntimeError(f"the peers are not installed; say {MAKE_IT}.")
    with tempfile.TemporaryDirectory() as folder:
        case, told, out = (
            Path(folder) / "case.safetensors",
            Path(folder) / "jobs.json",
            Path(folder) / "out.safetensors",
        )
        save_file({"x": x.contiguous(), "y": y.contiguous()}, case)
        told.write_text(json.dumps([{**asdict(job), "threads": torch.get_num_threads()} for job in jobs]))
        command = [str(PYTHON), str(WORKER), "many", str(case), str(out), str(told), str(each)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            answered = 0
            for line in process.stdout:
                if not line.startswith(ANSWER):
                    continue
                result = json.loads(line.removeprefix(ANSWER))
                yield result["failed"] if "failed" in result else Done(load_file(out)["x"].clone(), **result)
                answered += 1
                if answered < len(jobs):
                    print("next", file=process.stdin, flush=True)
        if answered < len(jobs):
            raise RuntimeError(
                f"the process of the peers ended with {process.returncode} after {answered} of {len(jobs)}."
            )


def run_peers(
    attack: str, x: Tensor, y: Tensor, eps: float, steps: int, size: float, net: str = "fashion_adversarial"
) -> list[tuple[str, int, int, float, float | None]]:
    """Rows for a benchmark on a carried network under linf: peer, forward, backward, robust accuracy, seconds over a
    bare loop of as many passes in the same process.

    Raises:
        ImportError: the environment is missing.
    """
    from robustly.goals import Goal
    from robustly.threats import Domain, Linf
    from robustly.zoo.load import network

    if not available():
        raise ImportError(f"say {MAKE_IT}")
    referee, around, rows = network(net), Linf(eps).at(x, Domain(0.0, 1.0)), []
    path = zoo_net(net)
    for peer in peers_of(attack, "linf"):
        done = run_peer(Job(peer, attack, "linf", path["net"], path["weights"], eps, steps, size, rounds=3), x, y)
        broken = Goal(y).met(referee(done.x)) & around.contains(done.x)
        rows.append((peer, done.forward, done.backward, 1 - broken.float().mean().item(), done.ratio))
    return rows


def install() -> None:
    """Make the environment, or bring it up to date."""
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *NEEDED], check=True)
    subprocess.run([*pip, "--no-deps", *PEERS], check=True)
    where = [str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    for name, text in STUBS.items():
        (packages / name).mkdir(exist_ok=True)
        (packages / name / "__init__.py").write_text(text)
    READY.write_text("\n".join((*NEEDED, *PEERS)) + "\n")


@cache
def _table() -> tuple[tuple[str, str, str], ...]:
    return tuple(tuple(row) for row in _worker(["list"], 600)["attacks"])


def _worker(arguments: list[str], timeout: float) -> dict:
    command = [str(PYTHON), str(WORKER), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:1])} failed in {ENVIRONMENT.name}: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit("usage: python -m bench.peers install")
    install()
