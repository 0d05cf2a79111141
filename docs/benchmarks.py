"""Write docs/benchmarks.md from the records of finished benchmarks: python -m docs.benchmarks [--check]

Every figure on that page comes from a JSON record under bench/results/; none is typed by hand. With --check nothing is
written: it ends with 1 if the page isn't what the records give.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
TITLES = {
    "pgd": "PGD: the cost of the machinery",
    "autoattack": "The plan `fast` against AutoAttack",
    "deep": "The plan `deep` against `standard`",
    "speed": "Where the seconds of `fast` go",
    "twins": "Fast twins of a network",
    "blackbox": "Query attacks beside the peers",
    "hybrids": "What a surrogate saves a query attack",
    "stateful": "Query attacks against stateful detectors",
    "endpoint": "The client of a deployed model",
    "certify": "Verdicts on properties whose truth is known",
    "bounds": "What a linear bound costs",
    "brackets": "What the proofs of a plan add",
    "smoothing": "Randomised smoothing: a published table, and coverage",
    "minnorm": "Least distances at half the peers' passes",
}
HEAD = """# Benchmarks

Written by `python -m docs.benchmarks` from the records in `bench/results/`; run them again with `make bench`. F and B are
examples that passed forward and backward through the model. A bar is a promise with the figure that was measured.
"""


def page(records: Mapping[str, Mapping[str, Any]], pictures: Sequence[str] = ()) -> str:
    """The page as Markdown, from records by the stem of their file; pictures: stems for which there is an SVG."""
    parts = [HEAD]
    seen: set[str] = set()
    for stem, record in records.items():
        if record["name"] not in seen:
            parts.append(f"## {TITLES.get(record['name'], record['name'])}\n")
            seen.add(record["name"])
        parts.append(section(stem, record, stem in pictures))
    return "\n".join(parts)


def section(stem: str, record: Mapping[str, Any], pictured: bool = False) -> str:
    """One record: what was run, its table, its picture, its notes and its bars."""
    lines = [f"### {stem}\n", f"{record['setting']}. Machine: {record.get('machine', 'not recorded')}.\n"]
    lines += table(record["columns"], record["rows"])
    if pictured:
        lines += ["", f"![distance against passes](../bench/results/{stem}.svg)"]
    lines += ["", *[f"- {note}" for note in record["notes"]]] if record["notes"] else []
    bars = [[b["what"], ("≤ " if b["at_most"] else "≥ ") + cell(b["wanted"]), b["measured"],
             "holds" if b["holds"] else "**falls short**"] for b in record["bars"]]  # fmt: skip
    lines += ["", *table(("bar", "wanted", "measured", ""), bars)] if bars else []
    return "\n".join([*lines, ""])


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table; columns that hold numbers stand to the right."""
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    out = [_line(columns), _line(["---:" if right else "---" for right in numeric])]
    return out + [_line([cell(value) for value in row]) for row in rows]


def cell(value: Any) -> str:
    """A value as text: four significant digits, thousands apart, a dash for what isn't there."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value == int(value) and abs(value) >= 1000):
        return f"{int(value):,}"
    return f"{value:.4g}"


def records() -> dict[str, dict[str, Any]]:
    """The records by the stem of their file, those of one benchmark together."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    order = list(TITLES)
    return dict(
        sorted(found.items(), key=lambda item: (order.index(n) if (n := item[1]["name"]) in order else 99, item[0]))
    )


def main() -> int:
    """Write the page, or check it."""
    text = page(records(), [path.stem for path in RESULTS.glob("*.svg")])
    if "--check" in sys.argv[1:]:
        same = PAGE.exists() and PAGE.read_text() == text
        print(f"{PAGE.name} {'is' if same else 'is NOT'} what the records give")
        return 0 if same else 1
    PAGE.write_text(text)
    return 0


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
