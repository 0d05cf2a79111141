"""python -m bench NAME [--limit N] [--json OUT]: run a benchmark, print its table and its bars; exit 1 if one falls short."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from bench.bars import Outcome, machine, printed

NAMES = ("pgd",)


def main() -> int:
    """Run one benchmark; 0 when every bar holds, 1 when one falls short."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--limit", type=int, default=500, help="examples (default 500)")
    parser.add_argument("--json", type=Path, help="write the outcome as a record")
    chosen = parser.parse_args()
    if chosen.limit < 1:
        parser.error(f"--limit must be at least 1, got {chosen.limit}")
    outcome: Outcome = importlib.import_module(f"bench.{chosen.name}").run(chosen.limit)
    print(printed(outcome))
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps({**outcome.as_dict(), "machine": machine()}, indent=1) + "\n")
    return 0 if all(bar.holds for bar in outcome.bars) else 1


if __name__ == "__main__":
    sys.exit(main())
