"""The text form of a threat: linf:8/255, l2:0.5, linf:8/255@8bit, linf:8/255&l2:1, edits:2, rotate:30, colour:5, ..."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from robustly.core.errors import UsageError, nearest
from robustly.threats.ball import NormThreat
from robustly.threats.base import Threat
from robustly.threats.colour import Colour
from robustly.threats.coordinates import number
from robustly.threats.corruption import Corrupt
from robustly.threats.edits import Edits
from robustly.threats.features import Features
from robustly.threats.flow import Flow
from robustly.threats.grid import Grid
from robustly.threats.intersection import Both
from robustly.threats.l0 import L0
from robustly.threats.l1 import L1
from robustly.threats.l2 import L2
from robustly.threats.linf import Linf
from robustly.threats.patch import Patch
from robustly.threats.spatial import Rotate, Shift
from robustly.threats.ssim import Ssim

NORMS: dict[str, type[NormThreat]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
IMAGES: dict[str, type[Shift | Flow | Colour | Ssim | Patch]] = {
    "shift": Shift,
    "flow": Flow,
    "colour": Colour,
    "ssim": Ssim,
    "patch": Patch,
}
"""Threats to images with one size and nothing more to say."""
SIZED = (NormThreat, Rotate, Shift, Flow, Colour, Ssim, Patch, Corrupt, Features)
"""Threats whose size is called eps."""
FAMILIES = (*NORMS, "edits", "rotate", *IMAGES, "corrupt", "features")
FORMS = (
    "linf:8/255, l2:0.5, l1:12, l0:10, linf:8/255@8bit, linf:8/255&l2:1, edits:2, rotate:30, rotate:30,shift:3, shift:3, "
    "flow:1, colour:5, ssim:0.1, patch:5, corrupt:3, corrupt:3,fog,jpeg"
)


def parse_threat(text: str) -> Threat:
    """Read a threat. l2:inf is the ball of a norm without a radius, in which an attack looks for the least distance.

    Raises:
        UsageError: unknown family, or an eps that is no number, negative or NaN, or infinite for what is no norm; the
            message shows the forms.
    """
    if "&" in text:
        parts = [parse_threat(part) for part in text.split("&")]
        if len(parts) != 2 or not all(isinstance(part, NormThreat) for part in parts):
            raise UsageError(f'"{text}": exactly two norm threats can be joined with &, say linf:8/255&l2:1.')
        return Both(parts[0], parts[1])  # type: ignore[arg-type]
    if text.strip().lower().startswith("features:"):
        raise UsageError(
            f'"{text}" needs a network, which has no text form: use it from Python, Features(0.5, network, layers).'
        )
    found = re.fullmatch(r"\s*([a-z0-9]+)\s*:\s*([^@\s,]+)\s*((?:,\s*[a-z0-9_:.]+\s*)*)(?:@(\d+)bit)?\s*", text.lower())
    if not found:
        raise UsageError(f'cannot read the threat "{text}". Write one of: {FORMS}.')
    family, amount, rest, bits = found.groups()
    more = tuple(word.strip() for word in rest.split(",")[1:])
    if family not in FAMILIES:
        raise UsageError(f'unknown threat "{family}".{nearest(family, FAMILIES)} Forms: {FORMS}.')
    if more and family not in ("rotate", "corrupt"):
        raise UsageError(f'"{text}": {family} takes one size and nothing more. Forms: {FORMS}.')
    if bits is not None and family not in NORMS:
        raise UsageError(f'"{text}": only a norm has a grid, say linf:8/255@8bit.')
    if family == "edits":
        if not amount.isdigit():
            raise UsageError(f'"{text}": edits takes a whole number of character edits, say edits:2.')
        return Edits(int(amount))
    eps = math.inf if family in NORMS and amount == "inf" else number(amount, f'eps of "{text}"')
    if family in NORMS:
        return NORMS[family](eps) if bits is None else _on_grid(NORMS[family](eps), int(bits), text)
    if family == "rotate":
        return _turning(eps, more, text)
    if family == "corrupt":
        return Corrupt(eps, more) if more else Corrupt(eps)
    return IMAGES[family](eps)  # type: ignore[arg-type] - a patch's side is checked there


def _on_grid(threat: NormThreat, bits: int, text: str) -> Grid:
    if not 1 <= bits <= 16:
        raise UsageError(f'"{text}": a grid has 1 to 16 bits, got {bits}.')
    return Grid(threat, bits)


def _turning(degrees: float, more: tuple[str, ...], text: str) -> Rotate:
    """rotate:30 with shift:3 or step:2 behind it."""
    values: dict[str, float] = {}
    for word in more:
        name, _, amount = word.partition(":")
        if name not in ("shift", "step") or name in values:
            raise UsageError(f'"{text}": after rotate:30 come shift:3 and step:2, each at most once; got "{word}".')
        values[name] = number(amount, f'{name} of "{text}"')
    return Rotate(degrees, values.get("shift", 0), values.get("step", 1.0))  # type: ignore[arg-type] - checked there


def as_threat(given: Threat | str) -> Threat:
    """A threat, from itself or its text form.

    Raises:
        UsageError: neither.
    """
    if isinstance(given, str):
        return parse_threat(given)
    if not isinstance(given, Threat):
        raise UsageError(f"a threat is Linf(0.03), L2(0.5), ... or a text such as linf:8/255; got {given!r}.")
    return given


def with_eps(threat: Threat, eps: float) -> Threat:
    """The same threat at another size: eps of a norm ball (of the first of two), the number of edits, the degrees of a
    rotation, the severity of a corruption, and so on.

    Raises:
        UsageError: a size that such a threat cannot have: half an edit, 200 degrees.
    """
    if isinstance(threat, Both):
        return replace(threat, first=replace(threat.first, eps=eps))
    if isinstance(threat, Grid):
        return replace(threat, threat=replace(threat.threat, eps=eps))
    if isinstance(threat, Edits):
        if eps != int(eps):
            raise UsageError(f"a number of edits is whole, got {eps:g}.")
        return replace(threat, most=int(eps))
    assert isinstance(threat, SIZED)
    return replace(threat, eps=eps)


def eps_of(threat: Threat) -> float:
    """The size of a threat as one number (the largest where it differs by example)."""
    if isinstance(threat, Both):
        return eps_of(threat.first)
    if isinstance(threat, Grid):
        return eps_of(threat.threat)
    if isinstance(threat, Edits):
        return float(threat.most)
    assert isinstance(threat, SIZED)
    return float(threat.eps) if not hasattr(threat.eps, "amax") else float(threat.eps.amax())  # type: ignore[union-attr]
