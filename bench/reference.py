"""What AutoAttack itself finds, kept as records: python -m bench.reference SUBJECT --blocks 0 1 --seeds 0 1 2

AutoAttack is that of its authors as the package pyautoattack carries it (version 'standard', batches of 250), run in the
environment of the peers on blocks of the subject's own size. Each block and seed gives one record under bench/results/autoattack/:
the examples it broke (judged again here, in float32, inside the ball), its passes and its seconds. It takes hours for
thousands of examples, so the records are kept, and `python -m bench autoattack` compares with them.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.bars import machine
from bench.peers import Job, run_peer
from bench.subjects import SUBJECTS, Subject, examples, network_of, subject
from robustly.goals import Goal
from robustly.threats import Domain
from robustly.threats.parse import NORMS

FOLDER = Path(__file__).parent / "results" / "autoattack"
DAY = 86_400.0


@dataclass(frozen=True)
class Found:
    """One run on one block. wrong: misread as they are; broken: read rightly and then broken; both as places in the
    data. forward, backward: passes of all examples together."""

    subject: str
    norm: str
    eps: float
    block: int
    count: int
    seed: int
    wrong: tuple[int, ...]
    broken: tuple[int, ...]
    forward: int
    backward: int
    seconds: float
    machine: str


def path_of(one: Subject, block: int, seed: int) -> Path:
    """Where the record of a block and a seed lies."""
    return FOLDER / f"{one.key}-block{block}-seed{seed}.json"


def read(one: Subject, block: int, seed: int) -> Found | None:
    """The record of a block and a seed, if it was made."""
    path = path_of(one, block, seed)
    if not path.exists():
        return None
    told = json.loads(path.read_text())
    return Found(**{**told, "wrong": tuple(told["wrong"]), "broken": tuple(told["broken"])})


def make(one: Subject, block: int, seed: int) -> Found:
    """Run AutoAttack on a block."""
    x, y = examples(one, one.block, block * one.block)
    net = network_of(one)
    job = Job("authors", "autoattack", one.norm, eps=one.eps, seed=seed, **one.place)
    done = run_peer(job, x, y, timeout=DAY)
    goal = Goal(y)
    wrong = goal.met(net(x))
    broken = goal.met(net(done.x)) & NORMS[one.norm](one.eps).at(x, Domain(0.0, 1.0)).contains(done.x) & ~wrong
    places = tuple(tuple((mask.nonzero().flatten() + block * one.block).tolist()) for mask in (wrong, broken))
    return Found(
        one.name, one.norm, one.eps, block, len(x), seed, *places, done.forward, done.backward, done.seconds, machine()
    )


def main() -> None:
    """Make the records that are missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.reference", description=__doc__)
    parser.add_argument("name", choices=[s.word for s in SUBJECTS])
    parser.add_argument("--blocks", type=int, nargs="+", default=[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    one = subject(chosen.name)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for block in chosen.blocks:
        for seed in chosen.seeds:
            if read(one, block, seed):
                continue
            found = make(one, block, seed)
            path_of(one, block, seed).write_text(json.dumps(asdict(found)) + "\n")
            left = 1 - (len(found.wrong) + len(found.broken)) / found.count
            print(f"{path_of(one, block, seed).stem}: {left:.4f}, {found.seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
