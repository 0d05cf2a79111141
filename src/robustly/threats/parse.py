"""The text form of a threat: linf:8/255, l2:0.5, l1:12, l0:10, linf:8/255@8bit, linf:8/255&l2:1, edits:2."""

from __future__ import annotations

import re
from dataclasses import replace

from robustly.core.errors import UsageError, nearest
from robustly.threats.ball import NormThreat
from robustly.threats.base import Threat
from robustly.threats.coordinates import number
from robustly.threats.edits import Edits
from robustly.threats.grid import Grid
from robustly.threats.intersection import Both
from robustly.threats.l0 import L0
from robustly.threats.l1 import L1
from robustly.threats.l2 import L2
from robustly.threats.linf import Linf

NORMS: dict[str, type[NormThreat]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}
FORMS = "linf:8/255, l2:0.5, l1:12, l0:10, linf:8/255@8bit, linf:8/255&l2:1, edits:2"


def parse_threat(text: str) -> Threat:
    """Read a threat.

    Raises:
        UsageError: unknown family, or an eps that is no number, negative, NaN or infinite; the message shows the forms.
    """
    if "&" in text:
        parts = [parse_threat(part) for part in text.split("&")]
        if len(parts) != 2 or not all(isinstance(part, NormThreat) for part in parts):
            raise UsageError(f'"{text}": exactly two norm threats can be joined with &, say linf:8/255&l2:1.')
        return Both(parts[0], parts[1])  # type: ignore[arg-type]
    found = re.fullmatch(r"\s*([a-z0-9]+)\s*:\s*([^@\s]+)\s*(?:@(\d+)bit)?\s*", text.lower())
    if not found:
        raise UsageError(f'cannot read the threat "{text}". Write one of: {FORMS}.')
    family, amount, bits = found.groups()
    if family == "edits":
        if bits or not amount.isdigit():
            raise UsageError(f'"{text}": edits takes a whole number of character edits, say edits:2.')
        return Edits(int(amount))
    if family not in NORMS:
        raise UsageError(f'unknown threat "{family}".{nearest(family, [*NORMS, "edits"])} Forms: {FORMS}.')
    threat = NORMS[family](number(amount, f'eps of "{text}"'))
    if bits is None:
        return threat
    if not 1 <= int(bits) <= 16:
        raise UsageError(f'"{text}": a grid has 1 to 16 bits, got {bits}.')
    return Grid(threat, int(bits))


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
    """The same threat at another size: eps of a norm ball (of the first of two), the number of edits.

    Raises:
        UsageError: a number of edits that is not whole.
    """
    if isinstance(threat, Both):
        return replace(threat, first=replace(threat.first, eps=eps))
    if isinstance(threat, Grid):
        return replace(threat, threat=replace(threat.threat, eps=eps))
    if isinstance(threat, Edits):
        if eps != int(eps):
            raise UsageError(f"a number of edits is whole, got {eps:g}.")
        return replace(threat, most=int(eps))
    assert isinstance(threat, NormThreat)
    return replace(threat, eps=eps)


def eps_of(threat: Threat) -> float:
    """The size of a threat as one number (the largest where it differs by example)."""
    if isinstance(threat, Both):
        return eps_of(threat.first)
    if isinstance(threat, Grid):
        return eps_of(threat.threat)
    if isinstance(threat, Edits):
        return float(threat.most)
    assert isinstance(threat, NormThreat)
    return float(threat.eps) if not hasattr(threat.eps, "amax") else float(threat.eps.amax())  # type: ignore[union-attr]
