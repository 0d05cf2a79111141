"""Short names for the stages of a run that tell them apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustly.core.records import Stage


def stage_names(stages: Sequence[Stage]) -> list[str]:
    """Each stage's name; where another of that name ran at the same size, with the arguments in which they differ.

    Those that differ in nothing, such as a probe and what follows it, are counted: noise, noise (2).
    """
    out, met = [], {}
    for stage in stages:
        like = [s for s in stages if (s.name, s.eps) == (stage.name, stage.eps)]
        common = set.intersection(*(set(arguments(s.spec)) for s in like))
        own = [argument for argument in arguments(stage.spec) if argument not in common]
        key = (stage.name, stage.eps, stage.spec)
        met[key] = met.get(key, 0) + 1
        out.append(" ".join([stage.name, *own]) + (f" ({met[key]})" if met[key] > 1 else ""))
    return out


def arguments(spec: str) -> list[str]:
    """The arguments of a spec as it is written: steps=20 and loss=dlr of apgd(steps=20, loss=dlr)."""
    found = re.fullmatch(r"\w+\((.*)\)[^)]*", spec)
    out, depth = [""], 0
    for character in found[1] if found else "":
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            out.append("")
        else:
            out[-1] += character
    return [argument.strip() for argument in out if argument.strip()]
