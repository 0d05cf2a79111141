"""Who takes part in the benchmark of least distances, and at which settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robustly.core.errors import UsageError
from robustly.core.specs import lookup
from robustly.steps import Attack

NORMS = ("linf", "l2", "l1", "l0")


@dataclass(frozen=True)
class Ours:
    """An attack of ours by its registered name. inner: what `least_radius` moves. after: what goes on from where it
    ended."""

    name: str
    arguments: tuple[tuple[str, Any], ...]
    inner: Ours | None = None
    after: Ours | None = None

    def make(self) -> Attack | None:
        """The attack; None where it isn't registered."""
        try:
            first = (self.inner.make(),) if self.inner else ()
            attack = lookup("attack", self.name).make(*first, **dict(self.arguments))
        except UsageError as unknown:
            if "unknown attack" in str(unknown):
                return None
            raise
        return lookup("attack", "in_turn").make(attack, self.after.make()) if self.after else attack

    @property
    def label(self) -> tuple[str, str]:
        """Name and arguments in words."""
        setting = ", ".join(f"{k} {v:g}" for k, v in self.arguments)
        if self.inner:
            name, inside = self.inner.label
            return f"{self.name} {name}", f"{inside}, {setting}"
        if self.after:
            name, then = self.after.label
            return f"{self.name}, {name}", f"{setting}; {then}"
        return self.name, setting


@dataclass(frozen=True)
class Theirs:
    """A peer's attack in the table of bench/peer_attacks.py, with steps and further arguments."""

    peer: str
    attack: str
    steps: int
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """The arguments in words."""
        return ", ".join([f"steps {self.steps}", *(f"{k} {v}" for k, v in self.options)])


def ours(norm: str) -> tuple[Ours, ...]:
    """Our settings for a norm."""
    out = [
        *_each("brendel_bethge", (10, 30, 100)),
        *(_then(_one("fmn", steps=s), "brendel_bethge", s) for s in (15, 50)),
        *_each("fmn", (30, 100, 300)),
        *_each("pdpgd", (100, 240)),
        *(_then(_one("pdpgd", steps=s), "brendel_bethge", t) for s, t in ((100, 50), (180, 50), (300, 100))),
    ]
    if norm in ("linf", "l2"):
        out += [*_each("closing_in", (10, 25, 100, 200)), *_each("trust_region", (30, 100)), *_each("deepfool", (50,))]
    if norm == "linf":
        out += [_one("cw_linf", steps=25, binary_steps=20)]
        out += [_then(_one("fmn", steps=300), "closing_in", 100)]
    if norm == "l2":
        out += [_one("ddn", steps=s, gamma=0.4, last_gamma=0.005) for s in (10, 30, 100)]
        out += [*_each("ddn", (30, 100, 300)), *_each("superdeepfool", (10,)), *_each("alma", (100, 300))]
        out += [_one("cw", steps=30, binary_steps=9)]
    if norm == "l1":
        out += [*_each("alma", (100, 300)), *_each("ead", (30,))]
    if norm == "l0":
        out += [*_each("sigma_zero", (10, 30, 100, 300, 480)), *_each("pgd_l0", (20,)), *_each("jsma", (60,))]
        out += [_one("sigma_zero", steps=485, gain=0.02)]
        out += [*(_then(_one("sigma_zero", steps=s), "brendel_bethge", s) for s in (15, 50))]
        out += [
            _then(_one("sigma_zero", steps=485, gain=0.03, threshold=0.2), "pointwise", 100, "queries"),
        ]
        out += [*_each("cw_l0", (30,)), *_each("sparsefool", (20,))]
    else:
        out += [
            *_each("fab", (30,)),
            _one("fab_t", steps=10, targets=9),
            _one("fab_t", steps=30, targets=3),
            _one("fab_t", steps=60, targets=5),
            _then(_one("fab_t", steps=60, targets=5), "brendel_bethge", 50),
        ]
        out += [Ours("least_radius", (("times", 8),), inner=_one("apgd", steps=20))]
    return tuple(out)


def theirs(norm: str) -> tuple[Theirs, ...]:
    """The peers' settings for a norm: several budgets, the peer's own default among them where it is affordable."""
    out = []
    if norm == "l0":
        out += [*_peer("adv-lib", "sigma_zero", (30, 100, 1000)), *_peer("adv-lib", "vfga", (50,))]
    else:
        out += [*_peer("authors", "fab_t", (10, 100)), *_peer("authors", "fab", (100,))]
    out += [*_peer("adv-lib", "fmn", (30, 100, 1000)), *_peer("adv-lib", "pdpgd", (100, 500))]
    if norm == "l2":
        out += [*_peer("adv-lib", "ddn", (10, 30, 100, 1000)), *_peer("Foolbox", "ddn", (100,))]
        out += [Theirs("adv-lib", "alma", s, (("init_lr_distance", 0.3),)) for s in (100, 300, 1000)]
        out += [*_peer("adv-lib", "pdgd", (500,))]
    if norm == "l1":
        out += [Theirs("adv-lib", "alma", s, (("init_lr_distance", 0.5),)) for s in (100, 300, 1000)]
        out += [*_peer("Foolbox", "ead", (100,)), *_peer("torchattacks", "ead", (100,)), *_peer("ART", "ead", (10,))]
    if norm in ("linf", "l2"):
        out += [*_peer("adv-lib", "trust_region", (100,)), *_peer("adv-lib", "trust_region_adaptive", (100, 300))]
        radius = {"linf": 0.002, "l2": 0.02}[norm]  # the default, 0.001, comes nowhere in 100 steps
        out += [Theirs("adv-lib", "trust_region", 300, (("eps", radius),))]
        out += [*_peer("adv-lib", "deepfool", (50,)), *_peer("Foolbox", "deepfool", (50,))]
    out += [*_peer("Foolbox", "fmn", (100, 1000))]
    if norm == "linf":
        out += [*_peer("adv-lib", "cw", (30,))]
    if norm == "l2":
        out += [*_peer("adv-lib", "cw", (100,)), *_peer("Foolbox", "cw", (100,)), *_peer("torchattacks", "cw", (50,))]
        out += [
            *_peer("torchattacks", "deepfool", (50,)),
            *_peer("ART", "deepfool", (100,)),
            *_peer("ART", "cw", (10,)),
        ]
        out += [Theirs("adv-lib", "superdeepfool", 5, (("df_steps", 50),))]
    return tuple(out)


def slow(norm: str) -> tuple[Theirs, ...]:
    """Peers that take minutes to be compiled, or to go through the examples one by one."""
    out = [*_peer("Foolbox", "brendel_bethge", (30, 100, 300)), *_peer("ART", "brendel_bethge", (30,))]
    if norm == "linf":
        out += [*_peer("ART", "cw", (10,))]
    if norm == "l0":
        out += [*_peer("torchattacks", "sparsefool", (10,)), *_peer("torchattacks", "jsma", (50,))]
        out += [*_peer("ART", "jsma", (50,)), *_peer("ART", "cw", (10,))]
    return tuple(out)


def _one(name: str, **arguments: Any) -> Ours:
    return Ours(name, tuple(arguments.items()))


def _each(name: str, steps: tuple[int, ...]) -> list[Ours]:
    return [_one(name, steps=s) for s in steps]


def _then(first: Ours, name: str, budget: int, called: str = "steps") -> Ours:
    return Ours(first.name, first.arguments, after=_one(name, **{called: budget}))


def _peer(peer: str, attack: str, steps: tuple[int, ...]) -> list[Theirs]:
    return [Theirs(peer, attack, s) for s in steps]
