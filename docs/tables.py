"""Write the tables of the README from finished runs: python -m docs.tables audits what is missing and fills them in."""

from __future__ import annotations

from pathlib import Path

from robustly import audit, read_record
from robustly.core.records import Record

ROOT = Path(__file__).parents[1]
MODELS = ("fashion_plain", "fashion_adversarial", "fashion_certified")


def main() -> None:
    """Audit the zoo on all its images with the default plan, and write the table between its two marks."""
    records = [_record(name) for name in MODELS]
    rows = [
        f"| `{r.model.name}` | {_share(r.summary.clean)} | {_share(r.summary.certified)} | {_share(r.summary.attacked)} |"
        for r in records
    ]
    readme = ROOT / "README.md"
    text = readme.read_text()
    head, rest = text.split("|---|---:|---:|---:|\n", 1)
    _, tail = rest.split("<!-- end -->", 1)
    readme.write_text(head + "|---|---:|---:|---:|\n" + "\n".join(rows) + "\n<!-- end -->" + tail)


def _record(name: str) -> Record:
    folder = ROOT / "runs" / f"table-{name}"
    audit(f"zoo:{name}", "zoo:fashion", "linf:0.1", out=folder)
    return read_record(folder)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


if __name__ == "__main__":
    main()
