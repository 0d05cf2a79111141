"""python -m bench NAME [--limit N] [--json OUT]: run a benchmark, print its table and its bars; exit 1 if one falls short."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.bars import Outcome, machine, printed

NAMES = (
    "pgd", "minnorm", "autoattack", "deep", "speed", "twins", "blackbox", "hybrids", "stateful", "endpoint", "certify",
    "bounds", "brackets", "smoothing",
)  # fmt: skip


def main() -> int:
    """Run one benchmark; 0 when every bar holds, 1 when one falls short."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument(
        "--limit",
        type=int,
        help="examples (pgd: 500, autoattack: all that AutoAttack was run on, minnorm: at most 50, deep: 30)",
    )
    parser.add_argument("--subjects", "--models", nargs="+", help="only these models (minnorm, autoattack)")
    parser.add_argument("--families", nargs="+", help="only these families (certify)")
    parser.add_argument("--timeout", type=float, help="seconds an instance (certify)")
    parser.add_argument("--norm", choices=("linf", "l2", "l1", "l0"), help="only this norm (minnorm)")
    parser.add_argument(
        "--missing", action="store_true", default=None, help="run what has no record (minnorm, blackbox, certify)"
    )
    parser.add_argument(
        "--again", action="store_true", default=None, help="run all the peers anew (minnorm), or all (certify)"
    )
    parser.add_argument(
        "--slow", action="store_true", default=None, help="run the slow peers too (minnorm); compile too (twins)"
    )
    parser.add_argument("--plan", help="the plan that is compared (autoattack: fast)")
    parser.add_argument("--seconds", action="store_true", default=None, help="compare times too (autoattack)")
    parser.add_argument("--json", type=Path, help="write the outcome as a record")
    chosen = parser.parse_args()
    run = importlib.import_module(f"bench.{chosen.name}").run
    known = inspect.signature(run).parameters
    given = {k: v for k, v in vars(chosen).items() if v is not None and k not in ("name", "json")}
    if unknown := [k for k in given if k not in known]:
        parser.error(f"{chosen.name} has no --{unknown[0]}")
    if "limit" in known and known["limit"].default is inspect.Parameter.empty:
        given.setdefault("limit", {"autoattack": 10_000}.get(chosen.name, 500))
    if given.get("limit", 1) < 1:
        parser.error(f"--limit must be at least 1, got {chosen.limit}")
    outcome: Outcome = run(**given)
    print(printed(outcome))
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(plain({**outcome.as_dict(), "machine": machine()}), indent=1) + "\n")
    return 0 if all(bar.holds for bar in outcome.bars) else 1


def plain(value: Any) -> Any:
    """A record that every JSON reader takes: tuples as lists, numbers that aren't finite as null."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
