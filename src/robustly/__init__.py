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
    from robustly.adapters.ensemble import mean_gradients, mean_logits, mean_losses
    from robustly.adapters.hwc import takes_hwc
    from robustly.adapters.straight import straight_through
    from robustly.adapters.substitutes import Learnt, knockoff, substitute
    from robustly.attacks.apgd import apgd
    from robustly.attacks.cw import cw
    from robustly.attacks.diverse_views import difgsm, sinifgsm
    from robustly.attacks.fgsm import fgsm, rfgsm
    from robustly.attacks.greedy import greedy
    from robustly.attacks.mifgsm import mifgsm, nifgsm
    from robustly.attacks.noise import noise
    from robustly.attacks.pgd import bim, pgd
    from robustly.attacks.pifgsm import pifgsm
    from robustly.attacks.prgf import prgf
    from robustly.attacks.simba_ods import simba_ods
    from robustly.attacks.square import square
    from robustly.attacks.tifgsm import tifgsm
    from robustly.attacks.transfer_pgd import transfer_pgd
    from robustly.attacks.transferred import transferred
    from robustly.attacks.vmifgsm import vmifgsm, vnifgsm
    from robustly.auditing.audit import audit
    from robustly.auditing.single import Result, attack
    from robustly.auditing.transfer import transfer_matrix
    from robustly.auditing.universal import universal
    from robustly.certify.beta_crown import beta_crown
    from robustly.certify.crown import alpha_crown, crown, crown_ibp, forward_lines
    from robustly.certify.interval import interval
    from robustly.certify.lipschitz import lipschitz
    from robustly.certify.patches import column_votes, double_masking
    from robustly.certify.smoothing import radii, smoothing, smoothing_early
    from robustly.certify.trees import trees
    from robustly.core.records import Record, read_record
    from robustly.core.transfers import Transfer, read_transfer
    from robustly.defend.lipschitz import aol, sll
    from robustly.defend.patches import banded, cleansed
    from robustly.defend.smoothed import predict, smooth
    from robustly.oracle.model import Access, Model
    from robustly.report.html import write_report
    from robustly.steps.blur import ti
    from robustly.steps.combinators import in_turn, per_target, restarts
    from robustly.steps.expectation import averaged, expected
    from robustly.steps.input_views import admix, di, si, ssa
    from robustly.steps.noises import Gaussian, Laplace, Uniform
    from robustly.steps.patches import patches
    from robustly.steps.pool import Pool
    from robustly.steps.radius import least_radius
    from robustly.steps.surrogates import from_surrogate
    from robustly.steps.transforms import momentum
    from robustly.steps.variance import variance
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
        Patch,
        Rotate,
        Shift,
        Ssim,
        parse_threat,
    )
    from robustly.verifying.verify import verify

_HOMES = {
    "robustly.adapters.ensemble": ("mean_gradients", "mean_logits", "mean_losses"),
    "robustly.adapters.endpoint": ("endpoint",),
    "robustly.adapters.hwc": ("takes_hwc",),
    "robustly.adapters.straight": ("straight_through",),
    "robustly.adapters.substitutes": ("Learnt", "knockoff", "substitute"),
    "robustly.attacks.apgd": ("apgd",),
    "robustly.attacks.cw": ("cw",),
    "robustly.attacks.diverse_views": ("difgsm", "sinifgsm"),
    "robustly.attacks.fgsm": ("fgsm", "rfgsm"),
    "robustly.attacks.greedy": ("greedy",),
    "robustly.attacks.mifgsm": ("mifgsm", "nifgsm"),
    "robustly.attacks.noise": ("noise",),
    "robustly.attacks.pgd": ("bim", "pgd"),
    "robustly.attacks.pifgsm": ("pifgsm",),
    "robustly.attacks.prgf": ("prgf",),
    "robustly.attacks.simba_ods": ("simba_ods",),
    "robustly.attacks.square": ("square",),
    "robustly.attacks.tifgsm": ("tifgsm",),
    "robustly.attacks.transfer_pgd": ("transfer_pgd",),
    "robustly.attacks.transferred": ("transferred",),
    "robustly.attacks.vmifgsm": ("vmifgsm", "vnifgsm"),
    "robustly.auditing.audit": ("audit",),
    "robustly.auditing.single": ("Result", "attack"),
    "robustly.auditing.transfer": ("transfer_matrix",),
    "robustly.auditing.universal": ("universal",),
    "robustly.certify.beta_crown": ("beta_crown",),
    "robustly.certify.crown": ("alpha_crown", "crown", "crown_ibp", "forward_lines"),
    "robustly.certify.interval": ("interval",),
    "robustly.certify.lipschitz": ("lipschitz",),
    "robustly.certify.patches": ("column_votes", "double_masking"),
    "robustly.certify.smoothing": ("radii", "smoothing", "smoothing_early"),
    "robustly.certify.trees": ("trees",),
    "robustly.core.records": ("Record", "read_record"),
    "robustly.core.transfers": ("Transfer", "read_transfer"),
    "robustly.defend.lipschitz": ("aol", "sll"),
    "robustly.defend.patches": ("banded", "cleansed"),
    "robustly.defend.smoothed": ("predict", "smooth"),
    "robustly.oracle.model": ("Access", "Model"),
    "robustly.report.html": ("write_report",),
    "robustly.steps.blur": ("ti",),
    "robustly.steps.combinators": ("in_turn", "per_target", "restarts"),
    "robustly.steps.expectation": ("averaged", "expected"),
    "robustly.steps.input_views": ("admix", "di", "si", "ssa"),
    "robustly.steps.noises": ("Gaussian", "Laplace", "Uniform"),
    "robustly.steps.patches": ("patches",),
    "robustly.steps.pool": ("Pool",),
    "robustly.steps.radius": ("least_radius",),
    "robustly.steps.surrogates": ("from_surrogate",),
    "robustly.steps.transforms": ("momentum",),
    "robustly.steps.variance": ("variance",),
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
        "Patch",
        "Rotate",
        "Shift",
        "Ssim",
        "parse_threat",
    ),
    "robustly.verifying.verify": ("verify",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'robustly' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *globals()]
