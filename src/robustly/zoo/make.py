"""Makes what the zoo carries: `python -m robustly.zoo.make [--only NAME] [--source DIR] [--seed 0] [--out DIR]`.

Writes NAME.safetensors for each network, fashion.npz (1000 test images), cards.json (what was measured) and the table
in README.md. With the same seed, torch and number of threads the files are the same to the bit.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from robustly.core.errors import UsageError, nearest
from robustly.zoo.training import EPS, RECIPES, lowest_margins, pgd_walk, train

PACKAGE = Path(__file__).parent
SOURCE = Path("/usr/share/datasets/fashion-mnist")
PER_CLASS = 100
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
TITLES = {
    "fashion_plain": "Trained as usual: accurate, and not robust at all",
    "fashion_adversarial": "Trained on PGD points: resists attacks, but interval bounds prove nothing",
    "fashion_certified": "Trained on interval bounds: less accurate, and provably robust on most images",
    "fashion": "1000 images of clothes from the Fashion-MNIST test set, 100 of each class",
}
SHARED = {
    "source": "Fashion-MNIST, Zalando Research (Xiao, Rasul & Vollgraf 2017, arXiv 1708.07747)",
    "licence": "MIT",
    "classes": CLASSES,
    "domain": (0.0, 1.0),
}


def read_part(source: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) and labels (N,), both uint8, of the part "train" or "t10k"."""
    files = [source / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UsageError(
            f"{source} has no {' and no '.join(missing)}. Install the Debian package dataset-fashion-mnist, or give "
            "with --source a folder with the four .gz files of github.com/zalandoresearch/fashion-mnist."
        )
    raw = [gzip.decompress(file.read_bytes()) for file in files]
    x, y = (np.frombuffer(data, np.uint8, offset=offset) for data, offset in zip(raw, (16, 8), strict=True))
    return x.reshape(-1, 28, 28), y


def as_tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images (N, 28, 28) and labels as float32 (N, 1, 28, 28) in [0, 1] and int64."""
    return torch.from_numpy(x.copy()).unsqueeze(1).float() / 255, torch.from_numpy(y.astype(np.int64))


def balanced(y: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Indices of `per_class` random examples of every class, in random order."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([rng.choice(np.flatnonzero(y == k), per_class, False) for k in np.unique(y)]))


def measure(net: nn.Sequential, x: Tensor, y: Tensor) -> dict[str, float]:
    """Fractions of x that are right: unchanged, at every point of PGD-20, and proved in the whole ball."""
    right = net(x).argmax(1) == y
    survives = right
    for z in pgd_walk(net, x, y, EPS, 20, 0.1, torch.Generator().manual_seed(20)):
        survives = survives & (net(z).argmax(1) == y)
    others = torch.arange(10) != y[:, None]
    proved = ((lowest_margins(net, x, y, EPS) > 0) | ~others).all(1)
    shares = {"clean": right, "pgd": survives, "certified": proved}
    return {name: int(rows.sum()) / len(y) for name, rows in shares.items()}


def write_cards(out: Path, figures: dict[str, dict[str, float]]) -> None:
    """Write cards.json, and the table of README.md; figures of networks that were not made now stay as they were."""
    path = out / "cards.json"
    old = json.loads(path.read_text(encoding="utf-8"))["entries"] if path.is_file() else {}
    entries: dict[str, dict] = {}
    for name, title in TITLES.items():
        card = {"kind": "network" if name in RECIPES else "images", "title": title}
        if name in figures:
            entries[name] = {**card, "eps": EPS, **figures[name]}
        elif name not in RECIPES or name in old:
            entries[name] = {**old.get(name, {}), **card}
    path.write_text(json.dumps({"shared": SHARED, "entries": entries}, indent=2) + "\n", encoding="utf-8")
    page = out / "README.md"
    if page.is_file():
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", table(entries), text, flags=re.S), "utf-8")


def table(entries: dict[str, dict]) -> str:
    """The accuracies as a markdown table."""
    rows = [f"| network | clean | PGD-20, linf {EPS} | proved by intervals, linf {EPS} |", "|---|---:|---:|---:|"]
    for name, card in entries.items():
        if card["kind"] == "network":
            shares = " | ".join(f"{card[key]:.1%}" for key in ("clean", "pgd", "certified"))
            rows.append(f"| `{name}` | {shares} |")
    return "\n".join(rows) + "\n"


def make(source: Path, out: Path, only: str | None, seed: int) -> None:
    """Train, measure and write the networks (or the one called `only`), and write the images."""
    if only is not None and only not in RECIPES:
        raise UsageError(f'no network is called "{only}".{nearest(only, RECIPES)}')
    x, y = as_tensors(*read_part(source, "train"))
    test_x, test_y = read_part(source, "t10k")
    rows = balanced(test_y, PER_CLASS, seed)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "fashion.npz", x=test_x[rows], y=test_y[rows])
    carried = as_tensors(test_x[rows], test_y[rows])
    for name in RECIPES if only is None else (only,):
        print(name, flush=True)
        start = time.monotonic()
        net = train(RECIPES[name], x, y, seed)
        (out / f"{name}.safetensors").write_bytes(save(net.state_dict()))
        figures = measure(net, *carried)
        write_cards(out, {name: figures})
        print(f"  {figures}  {time.monotonic() - start:.0f} s", flush=True)


def main() -> None:
    """Read the command line and make what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m robustly.zoo.make", description="Make the carried networks.")
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder with the four Fashion-MNIST .gz files")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="where to write (default: the package)")
    parser.add_argument("--only", metavar="NAME", help="make one network: " + ", ".join(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="other numbers round differently")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    try:
        make(given.source, given.out, given.only, given.seed)
    except UsageError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
