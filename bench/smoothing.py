"""Randomised smoothing: a published table from its published per-image logs, and how often certificates hold.

The logs are those of Cohen et al. 2019 (arXiv:1902.02918, github.com/locuslab/smoothing): 10,000 images of CIFAR-10 at four
sigmas, 100,000 votes each, alpha 0.001, radii to three digits. Votes are not among them, so each radius is taken back to the
count of votes it came from, and our bound of that count must give the logged radius; certified accuracy is then counted from
our radii, at the paper's sizes, and must be that of the logs to three digits.

Coverage is of linear classifiers, whose smoothed classifiers and radii are known in closed form: a certificate is wrong where
its radius exceeds the true one, and alpha bounds how often it may be. The votes on a linear classifier are binomial, so how often
is summed exactly over all counts there can be; other certificates are made with noise, by the certifier itself.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from bench.bars import Bar, Outcome
from robustly import Gaussian, Laplace, Uniform, radii, smooth
from robustly.oracle import Model
from robustly.steps.binomial import lower_bound, lower_bound_at_any_time
from robustly.threats import Domain

LOGS = Path(__file__).parents[2] / "shared" / "data" / "cohen-smoothing-logs"
SIGMAS = ("0.12", "0.25", "0.50", "1.00")
SIZES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
N, ALPHA = 100_000, 0.001
COVERED = 0.999


def run(limit: int = 60) -> Outcome:
    """The benchmark; limit: half-spaces of each noise."""
    rows: list[tuple[Any, ...]] = []
    worst, off = 0.0, 0
    for sigma in SIGMAS if LOGS.is_dir() else ():
        logged, correct = logs(sigma)
        ours = remade(float(sigma), logged)
        off += int((shown(ours) != shown(logged)).sum())
        published = [float((correct & (logged >= r)).mean()) for r in SIZES]
        found = [float((correct & (shown(ours) >= r)).mean()) for r in SIZES]
        worst = max(worst, *(abs(a - b) for a, b in zip(published, found, strict=True)))
        rows.append((f"sigma {sigma}, ours", *(f"{v:.3f}" for v in found)))
        rows.append((f"sigma {sigma}, logs", *(f"{v:.3f}" for v in published)))
    bars = [] if not rows else [
        Bar("certified accuracy: largest difference from the published logs", 0.0005, worst),
        Bar("images of 40,000 whose radius differs from the log in three digits", 0, off),
    ]  # fmt: skip
    notes = ["columns: certified accuracy at this l2 radius"] if rows else [f"no logs at {LOGS.name}: no table"]
    for name, covered, tight in coverage(limit):
        bars.append(Bar(f"coverage: {name}", COVERED, covered, at_most=False))
        notes.append(f"{name}: radii are {tight:.3f} of the true ones in the median, where the true one is certifiable")
    return Outcome(
        "smoothing",
        "Cohen et al. 2019 on CIFAR-10, n 100,000, alpha 0.001; linear classifiers of known radius",
        ("r", *(f"{r:g}" for r in SIZES)),
        tuple(rows),
        tuple(bars),
        tuple(notes),
    )


def logs(sigma: str) -> tuple[np.ndarray, np.ndarray]:
    """Radii, and whether the class was right, of the published log."""
    with open(LOGS / f"cifar10_cohen_sigma_{sigma}.tsv") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    return np.array([float(r["radius"]) for r in table]), np.array([r["correct"] == "1" for r in table])


def remade(sigma: float, logged: np.ndarray) -> np.ndarray:
    """Our radius of the count of votes whose radius is nearest to each logged one; 0 where the log abstains."""
    table = Gaussian(sigma).radius(bounds()).numpy()
    place = np.clip(np.searchsorted(table, logged), 1, len(table) - 1)
    nearer = np.where(logged - table[place - 1] < table[place] - logged, place - 1, place)
    return np.where(logged > 0, table[nearer], 0.0)


@functools.cache
def bounds() -> torch.Tensor:
    """Ours of every count of votes from one half on."""
    return torch.tensor([lower_bound(k, N, ALPHA) for k in range(N // 2, N + 1)], dtype=torch.float64)


def shown(radius: np.ndarray) -> np.ndarray:
    """As the logs show it: three significant digits."""
    return np.array([float(f"{r:.3}") for r in radius])


def coverage(places: int) -> list[tuple[str, float, float]]:
    """Of each setting its name, the least share of certificates that hold, and how near their radii are to the true ones."""
    fixed, early = exact_fixed(), exact_sequential()
    out = []
    for noise in (Gaussian(0.25), Laplace(0.25), Uniform(0.25)):
        distance = torch.linspace(0.01, 0.4, places, dtype=torch.float64)
        p = noise.needed(distance).numpy()  # the half-space's own probability, since its radius is the distance
        for label, (wrong, middle) in (("fixed n", fixed), ("sequential, looked at 5 times", early)):
            near = noise.radius(torch.tensor([middle(v) for v in p], dtype=torch.float64)) / distance
            name = f"{noise.name}, {label}, exact over {places} half-spaces"
            out.append((name, 1 - max(wrong(v) for v in p), float(near.median())))
    out.append(("gaussian, by the certifier itself on 300 inputs", *certified(300)))
    return out


Chance = Callable[[float], float]
"""Of a probability: that of a wrong bound on it, or the bound in the middle of the draws."""


def exact_fixed(n: int = 1000) -> tuple[Chance, Chance]:
    """Clopper and Pearson's bound of n votes, by the law of their count."""
    bounds = np.array([lower_bound(k, n, ALPHA) for k in range(n + 1)])
    return lambda p: float(binom.pmf(np.arange(n + 1), n, p)[bounds > p].sum()), lambda p: bounds[round(n * p)]


def exact_sequential(looks: tuple[int, ...] = (100, 200, 400, 800, 1600)) -> tuple[Chance, Chance]:
    """The largest of the bounds at all looks, whatever rule stops them, by the law of the counts at each."""
    tables = [np.array([lower_bound_at_any_time(k, n, ALPHA) for k in range(n + 1)]) for n in looks]

    def wrong(p: float) -> float:
        alive, last, crossed = np.array([1.0]), 0, 0.0
        for n, bounds in zip(looks, tables, strict=True):
            alive = np.convolve(alive, binom.pmf(np.arange(n - last + 1), n - last, p))
            crossed += float(alive[bounds > p].sum())
            alive, last = np.where(bounds > p, 0.0, alive), n
        return crossed

    return wrong, lambda p: tables[-1][round(looks[-1] * p)]


def certified(count: int) -> tuple[float, float]:
    """Certificates by votes over noisy copies."""
    g = torch.Generator().manual_seed(0)
    normal = torch.randn(8, generator=g)
    normal = normal / normal.norm()
    x = torch.rand(count, 8, generator=g)
    gap = (x.double() - 0.5) @ normal.double()
    base = Model(lambda z: torch.stack(((s := (z - 0.5) @ normal), -s), 1), Domain(0.0, 1.0), classes=2, digest="plane")
    found = radii(smooth(base, 0.25), x, n=1000, alpha=ALPHA)
    wrong = (found.label >= 0) & ((found.label != (gap < 0).long()) | (found.radius > gap.abs()))
    far = gap.abs() > 0.1
    ratio = (found.radius / gap.abs())[far]
    return float((~wrong).double().mean()), float(ratio.median()) if math.isfinite(float(ratio.sum())) else 0.0
