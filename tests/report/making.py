"""Records made by hand for the tests of the report: real pictures of clothes, verdicts of every kind."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

from robustly.core.points import Pair, pair_bytes, save_pair
from robustly.core.records import (
    DataFacts,
    Interval,
    ModelFacts,
    Record,
    Row,
    Stage,
    Summary,
    SweepPoint,
)

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
APGD = 'apgd(steps=100, loss="cross_entropy")'
EPS = 0.1


def clothes() -> tuple[np.ndarray, np.ndarray]:
    with np.load(str(files("robustly.zoo") / "fashion.npz")) as data:
        return data["x"].astype(np.float32)[:, None] / 255, data["y"].astype(int)


def interval(share: float, count: int) -> Interval:
    wide = 1.96 * (share * (1 - share) / max(count, 1)) ** 0.5
    return Interval(low=max(0.0, share - wide), high=min(1.0, share + wide))


def summary_of(rows: tuple[Row, ...]) -> Summary:
    n = len(rows)
    count = {
        v: sum(r.verdict == v for r in rows) for v in ("certified", "unknown", "broken", "misclassified", "invalid")
    }
    part = {v: c / n if n else 0.0 for v, c in count.items()}
    certified, attacked = part["certified"], part["certified"] + part["unknown"]
    low, high = interval(certified, n), interval(attacked, n)
    return Summary(
        examples=n,
        clean=attacked + part["broken"],
        clean_asked=n,
        certified=certified,
        attacked=attacked,
        broken=count["broken"],
        certified_count=count["certified"],
        unknown=count["unknown"],
        misclassified=count["misclassified"],
        invalid=count["invalid"],
        clean_interval=interval(attacked + part["broken"], n),
        certified_interval=low,
        attacked_interval=high,
        population=Interval(low=low.low if n else 0.0, high=high.high if n else 1.0),
        forward=sum(r.forward for r in rows),
        backward=sum(r.backward for r in rows),
        seconds=41.7,
    )


def record_of(rows: tuple[Row, ...], **changes) -> Record:
    """A record around rows; `changes` replace its fields."""
    n = len(rows)
    values = {
        "status": "complete",
        "threat": "linf:0.1",
        "eps": EPS,
        "plan": "fast",
        "plan_stages": ("interval()", APGD),
        "seed": 0,
        "model": ModelFacts(
            name="zoo:fashion_certified", digest="8c1f" * 8, access="gradients", domain=(0.0, 1.0), classes=10
        ),
        "data": DataFacts(
            name="zoo:fashion", digest="77ab" * 8, count=n, shape=(1, 28, 28), kind="image", classes=NAMES
        ),
        "summary": summary_of(rows),
        "stages": (
            Stage(
                name="clean",
                kind="clean",
                spec="the unperturbed examples",
                asked=n,
                decided=0,
                forward=n,
                backward=0,
                seconds=0.41,
            ),
            Stage(
                name="interval",
                kind="certify",
                spec="interval()",
                eps=EPS,
                asked=n,
                decided=n // 3,
                forward=2 * n,
                backward=0,
                seconds=1.2,
            ),
            Stage(
                name="apgd",
                kind="attack",
                spec=APGD,
                eps=EPS,
                asked=n // 2,
                decided=n // 3,
                forward=90 * n,
                backward=88 * n,
                seconds=39.9,
            ),
        ),
        "rows": rows,
        "not_tested": (
            "changes outside linf:0.1: other norms, larger sizes, rotations, patches, other inputs than these",
            "undecided examples: no counterexample was found within the plan's passes, which proves nothing",
            "attackers who adapt to this very model by hand",
        ),
        "notes": ("input range 0 to 1, detected from the data",),
        "versions": {"robustly": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "machine": "x86_64, 2 threads, cpu",
        "command": "robustly audit zoo:fashion_certified zoo:fashion --threat linf:0.1 --plan fast --seed 0",
        "started": "2025-01-02T03:04:05+00:00",
    }
    return Record(**{**values, **changes})


def row(index: int, verdict: str, **changes) -> Row:
    values = {
        "index": index,
        "id": f"id{index:06d}",
        "label": index % 10,
        "verdict": verdict,
        "forward": 101,
        "backward": 100,
    }
    if verdict not in ("invalid",):
        values |= {"clean_label": (index + 3 * (verdict == "misclassified")) % 10, "clean_confidence": 0.9}
    if verdict == "broken":
        values |= {
            "by": APGD,
            "stage": 1,
            "adversarial_label": (index + 6) % 10,
            "adversarial_confidence": 0.6,
            "distance": EPS,
        }
    if verdict == "certified":
        values |= {"by": "interval()", "stage": 0, "bound": 0.3, "certified_at": EPS}
    if verdict == "invalid":
        values |= {"error": "the model answered NaN", "flags": ("non-finite",)}
    return Row(**{**values, **changes})


def rows_of(verdicts: str) -> tuple[Row, ...]:
    """Rows from letters: c(ertified) u(nknown) b(roken) m(isclassified) i(nvalid)."""
    known = {v[0]: v for v in ("certified", "unknown", "broken", "misclassified", "invalid")}
    return tuple(row(i, known[letter]) for i, letter in enumerate(verdicts))


def fashion_record(folder: Path, count: int = 300, **changes) -> Record:
    """An audit as it would look, with counterexamples of various sizes on disk."""
    x, y = clothes()
    draw = np.random.default_rng(0)
    rows = []
    for i in range(count):
        verdict = draw.choice(["certified", "unknown", "broken", "misclassified"], p=[0.38, 0.13, 0.41, 0.08])
        if verdict != "broken":
            rows.append(
                row(
                    i,
                    verdict,
                    label=int(y[i]),
                    clean_label=int(y[i] if verdict != "misclassified" else (y[i] + 2) % 10),
                )
            )
            continue
        size = float(draw.beta(4, 1.3)) * EPS
        bent = np.clip(x[i] + size * draw.choice([-1, 1], x[i].shape), 0, 1).astype(np.float32)
        rows.append(
            row(
                i,
                "broken",
                label=int(y[i]),
                clean_label=int(y[i]),
                clean_confidence=float(draw.uniform(0.5, 1)),
                adversarial_label=int((y[i] + draw.choice([2, 4, 6])) % 10),
                adversarial_confidence=float(draw.uniform(0.35, 0.99)),
                distance=size,
                counterexample=save_pair(folder, pair_bytes(Pair(bent, x[i]))),
                broken_at=EPS,
            )
        )
    record = record_of(tuple(rows), **changes).with_points(folder)
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "record.json").write_text(record.to_json(), encoding="utf-8")
    return record


def swept(record: Record, sizes: tuple[float, ...]) -> Record:
    """The record with a sweep: each row breaks, and loses its certificate, at a size of its own."""
    draw = np.random.default_rng(1)
    rows, broken, certified = [], [], []
    for r in record.rows:
        breaks = next((e for e in sizes if r.distance is not None and e >= r.distance), None)
        if r.verdict in ("certified", "unknown"):
            breaks = next((e for e in sizes if e > EPS and draw.uniform() < 0.5), None)
        proven = {"certified": EPS, "unknown": sizes[0]}.get(r.verdict)
        rows.append(r.model_copy(update={"broken_at": breaks, "certified_at": proven}))
        broken.append(breaks)
        certified.append(proven)
    n = len(rows)
    read = sum(r.verdict not in ("misclassified", "invalid") for r in rows)
    points = []
    for e in sizes:
        gone = sum(b is not None and b <= e for b in broken)
        safe = sum(c is not None and c >= e for c in certified)
        shares = {"clean": read / n, "certified": safe / n, "attacked": (read - gone) / n}
        numbers = {"broken": gone, "certified_count": safe, "unknown": read - gone - safe}
        points.append(SweepPoint(eps=e, **shares, **numbers, forward=100 * n, backward=90 * n))
    return record.model_copy(update={"rows": tuple(rows), "sweep": tuple(points)}).with_points(record.folder)


def sweep_point(eps: float, certified: float, attacked: float) -> SweepPoint:
    shares = {"eps": eps, "clean": 1.0, "certified": certified, "attacked": attacked}
    return SweepPoint(**shares, broken=0, certified_count=0, unknown=0, forward=1, backward=1)
