"""Numbers and verdicts in plain words, the same in every report."""

from __future__ import annotations

import math
import re

from robustly.core.records import Record, Verdict

VERDICTS: tuple[Verdict, ...] = ("certified", "unknown", "broken", "misclassified", "invalid")
"""In the order in which they stand in every picture: robust first."""

MEANING: dict[Verdict, str] = {
    "certified": "proven: no allowed change alters the answer",
    "unknown": "neither broken nor proven within the plan's passes",
    "broken": "a stored counterexample alters the answer",
    "misclassified": "wrong already without any change",
    "invalid": "the model raised, or answered NaN or infinity",
}

GAP = "\u00a0"
"""No-break space: a number and its unit stay on one line."""


def percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction in [0, 1] as a percentage; one that is not exactly 0 or 1 is never written as 0 % or 100 %."""
    if fraction is None or not math.isfinite(fraction):
        return "–"
    shown = f"{100 * fraction:.{digits}f}"
    step = f"{10.0**-digits:.{digits}f}"
    if fraction > 0 and float(shown) == 0:
        return f"<{GAP}{step}{GAP}%"
    if fraction < 1 and float(shown) == 100:
        return f">{GAP}{100 - 10.0**-digits:.{digits}f}{GAP}%"
    return f"{shown}{GAP}%"


def number(value: float | None) -> str:
    """A number with four significant digits, whole ones with thousands separated; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def seconds(value: float) -> str:
    """A duration: 0.41 s, 12.3 s, 4 min 7 s, 2 h 5 min."""
    if not math.isfinite(value):
        return "–"
    if value < 10:
        return f"{value:.2f}{GAP}s"
    if value < 100:
        return f"{value:.1f}{GAP}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{GAP}min {rest}{GAP}s"
    return f"{minutes // 60}{GAP}h {minutes % 60}{GAP}min"


def several(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: 1 example, 1,000 examples."""
    return f"{count:,}{GAP}{one if count == 1 else many or one + 's'}"


def class_name(record: Record, label: int | None) -> str:
    """The name of a class, or its number where the data names none."""
    if label is None:
        return "–"
    names = record.data.classes
    return names[label] if 0 <= label < len(names) else str(label)


def counts(record: Record) -> dict[Verdict, int]:
    """Examples by verdict, in the order of `VERDICTS`."""
    s = record.summary
    of: dict[Verdict, int] = {
        "certified": s.certified_count,
        "unknown": s.unknown,
        "broken": s.broken,
        "misclassified": s.misclassified,
        "invalid": s.invalid,
    }
    return {verdict: of[verdict] for verdict in VERDICTS}


def domain(of: tuple[float | None, float | None]) -> str:
    """A range of inputs: 0 to 1, or unbounded."""
    low, high = (side if side is None or math.isfinite(side) else None for side in of)
    if low is None and high is None:
        return "unbounded"
    return f"{'−∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"


def threat_in_words(threat: str) -> str:
    """What the attacker may do: linf:0.1 is "changes of at most 0.1 per input value"; others as they are written."""
    forms = {
        "linf": "changes of at most {} per input value",
        "l2": "changes of Euclidean length at most {}",
        "l1": "changes that sum to at most {}",
        "l0": "changes of at most {} input values",
        "edits": "at most {} character edits",
    }
    found = re.fullmatch(r"([a-z0-9]+):([0-9.e+-]+|\d+/\d+)(?:@(\d+)bit)?", threat)
    if not found or found[1] not in forms:
        return f"the threat {threat}"
    try:
        amount = found[2] if "/" in found[2] else f"{float(found[2]):.4g}"
    except ValueError:
        return f"the threat {threat}"
    on_grid = f" on the {found[3]}-bit grid" if found[3] else ""
    said = forms[found[1]].format(amount) + on_grid
    return said.replace("1 character edits", "1 character edit") if amount == "1" else said


def headline(record: Record) -> str:
    """The verdict in one sentence."""
    s = record.summary
    if record.status == "contradiction":
        return "This audit contradicts itself: an example is broken and certified at once. Do not use its numbers."
    if s.examples == 0:
        return "No example was audited, so nothing can be said of this model."
    under = f"under {threat_in_words(record.threat)}"
    if s.attacked == s.certified == 0:
        return f"Not one of {several(s.examples, 'prediction')} stays correct {under}."
    if s.attacked == s.certified:
        return f"Exactly {percent(s.certified)} of the predictions stay correct {under}: every example is decided."
    if s.certified_count == 0:
        return f"At most {percent(s.attacked)} of the predictions stay correct {under}; none is proven to."
    return f"Between {percent(s.certified)} and {percent(s.attacked)} of the predictions stay correct {under}."


def detail(record: Record) -> str:
    """The sentences below the headline: what the bracket is made of."""
    s = record.summary
    if s.examples == 0:
        return "An audit of nothing is not a passed audit."
    parts = [f"Without any attack the model reads {percent(s.clean)} of {several(s.examples, 'example')} correctly."]
    made = [
        (s.certified_count, "proven safe"),
        (s.broken, "broken with a stored counterexample"),
        (s.unknown, "undecided"),
        (s.misclassified, "wrong from the start"),
        (s.invalid, "without a usable answer"),
    ]
    parts.append(_listed([f"{count:,} {'is' if count == 1 else 'are'} {what}" for count, what in made if count]) + ".")
    if record.status == "partial":
        parts.append(
            f"The run is partial ({record.why_partial or 'no reason recorded'}); the bracket may still tighten."
        )
    return " ".join(parts)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
