"""Write docs/attacks.md from the specs: python -m docs.attacks lists every attack, combinator, loss, start and certifier."""

from __future__ import annotations

import re
from pathlib import Path

from robustly.auditing.plan import NAMES, load_plan
from robustly.core.specs import Entry, entries

PAGE = Path(__file__).parent / "attacks.md"
KINDS = (
    ("attack", "Attacks"),
    ("view", "Views of transfer attacks"),
    ("transform", "Transforms of their gradients and steps"),
    ("loss", "Losses"),
    ("start", "Starts"),
    ("certifier", "Certifiers"),
)
SETS = {
    "Smooth": "every smooth set",
    "PerturbationSet": "every set",
    "Ball": "norm balls",
    "LinfBall": "linf",
    "L2Ball": "l2",
    "L1Ball": "l1",
    "L0Ball": "l0",
    "GridSet": "grids",
    "BothSet": "two at once",
    "Finite": "edits of texts",
    "Enumerated": "rotations, shifts, corruptions",
}


def page() -> str:
    """The page as text."""
    lines = [
        "# What there is",
        "",
        "Written from the code by `python -m docs.attacks`. Arguments: `robustly list`. One change for many inputs is none of these:",
        "see [universal.md](universal.md).",
        "",
    ]
    for kind, title in KINDS:
        lines += [f"## {title}", "", *_table(kind), ""]
    lines += ["## Plans", ""]
    for name in NAMES:
        plan = load_plan(name)
        lines += [f"### `{name}`", "", f"{plan.description}.", ""]
        lines += [f"{number}. `{stage}`" for number, stage in enumerate(plan.stages, 1)]
        lines += ["", *(f"Not tested: {line}." for line in plan.not_tested), ""]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _table(kind: str) -> list[str]:
    made = entries(kind)
    if kind == "attack":
        head = ["| name | what it does | access | sets | source |", "|---|---|---|---|---|"]
        return head + [
            f"| `{e.name}` | {e.summary} | {e.needs} | {', '.join(SETS.get(s, s) for s in e.sets)} | {_linked(e)} |"
            for e in made
        ]
    head = ["| name | what it is | source |", "|---|---|---|"]
    return head + [f"| `{e.name}` | {e.summary} | {_linked(e)} |" for e in made]


def _linked(entry: Entry) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", entry.paper)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
