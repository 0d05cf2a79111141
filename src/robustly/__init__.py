"""robustly: attack, audit and certify machine-learning models; a verdict for every example.

    from robustly import audit, Linf
    record = audit(model, (x, y), Linf(8 / 255), plan="fast", seed=0)
    print(record)

Importing the package is light; torch is loaded when something that needs it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robustly.adapters.endpoint import endpoint
    from robustly.adapters.straight import straight_through
    from robustly.attacks.apgd import apgd
    from robustly.attacks.cw import cw
    from robustly.attacks.fgsm import fgsm, rfgsm
    from robustly.attacks.greedy import greedy
    from robustly.attacks.mifgsm import mifgsm, nifgsm
    from robustly.attacks.noise import noise
    from robustly.attacks.pgd import bim, pgd
    from robustly.attacks.square import square
    from robustly.auditing.audit import audit
    from robustly.auditing.single import Result, attack
    from robustly.certify.interval import interval
    from robustly.core.records import Record, read_record
    from robustly.oracle.model import Access, Model
    from robustly.report.html import write_report
    from robustly.steps.combinators import in_turn, per_target, restarts
    from robustly.steps.expectation import averaged, expected
    from robustly.steps.radius import least_radius
    from robustly.threats import (
        L0,
        L1,
        L2,
        Both,
        Colour,
        Corrupt,
        Domain,
        Edits,
        Features,
        Flow,
        Grid,
        Linf,
        Rotate,
        Shift,
        Ssim,
        parse_threat,
    )

_HOMES = {
    "robustly.adapters.endpoint": ("endpoint",),
    "robustly.adapters.straight": ("straight_through",),
    "robustly.attacks.apgd": ("apgd",),
    "robustly.attacks.cw": ("cw",),
    "robustly.attacks.fgsm": ("fgsm", "rfgsm"),
    "robustly.attacks.greedy": ("greedy",),
    "robustly.attacks.mifgsm": ("mifgsm", "nifgsm"),
    "robustly.attacks.noise": ("noise",),
    "robustly.attacks.pgd": ("bim", "pgd"),
    "robustly.attacks.square": ("square",),
    "robustly.auditing.audit": ("audit",),
    "robustly.auditing.single": ("Result", "attack"),
    "robustly.certify.interval": ("interval",),
    "robustly.core.records": ("Record", "read_record"),
    "robustly.oracle.model": ("Access", "Model"),
    "robustly.report.html": ("write_report",),
    "robustly.steps.combinators": ("in_turn", "per_target", "restarts"),
    "robustly.steps.expectation": ("averaged", "expected"),
    "robustly.steps.radius": ("least_radius",),
    "robustly.threats": (
        "L0",
        "L1",
        "L2",
        "Both",
        "Colour",
        "Corrupt",
        "Domain",
        "Edits",
        "Features",
        "Flow",
        "Grid",
        "Linf",
        "Rotate",
        "Shift",
        "Ssim",
        "parse_threat",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'robustly' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *globals()]
