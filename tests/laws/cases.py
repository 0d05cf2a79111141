"""What the laws are held on: every threat, every registered attack at small settings, and a model that treats rows alone."""

import inspect
import math

import torch

from robustly.attacks.pgd import pgd
from robustly.core import keys
from robustly.core.specs import entries
from robustly.goals import Goal
from robustly.oracle import Model
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
)

UNIT = Domain(0.0, 1.0)

SMALL = {
    "steps": 6, "binary_steps": 2, "queries": 40, "tries": 6, "width": 12, "targets": 2, "times": 2, "samples": 5,
    "population": 6, "directions": 5, "inner_steps": 2,
}  # fmt: skip
"""Settings by argument name, so that a new attack is tested without being listed here."""


def small_attack(entry):
    """A registered attack at small settings."""
    values = {}
    for name, parameter in inspect.signature(entry.make).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return entry.make(pgd(2), pgd(3))
        if name in SMALL:
            values[name] = SMALL[name]
        elif parameter.default is parameter.empty:
            values[name] = pgd(3)
    return entry.make(**values)


def attacks():
    """All but those that need a second model for the same inputs, which have tests of their own."""
    return [entry for entry in entries("attack") if "surrogate" not in entry.parameters]


OF_IMAGES = (Rotate, Shift, Corrupt, Flow, Colour, Ssim, Features, Patch)
"""Threats to images (C, H, W) alone, which have one size for all rows, in no units of the input."""


class Layers(torch.nn.Module):
    """Features whose bits don't depend on the batch: the layer `seen` of a row's numbers."""

    def __init__(self, n):
        super().__init__()
        self.seen = torch.nn.ReLU()
        self.weight = torch.nn.Parameter(torch.randn(8, n, generator=torch.Generator().manual_seed(3)))

    def forward(self, z):
        return self.seen((z.flatten(1)[:, None, :] * self.weight).sum(2))


def threats_for(entry, shape=(1, 4, 4)):
    """Threats to inputs of that shape that an attack says it can walk in, one of each kind."""
    if "FeatureSet" in entry.sets:
        return [Features(0.3, Layers(math.prod(shape)).eval())] if len(shape) == 3 else []
    numbers = [Linf(0.15), L2(0.6), L1(2.0), L0(4), Grid(Linf(16 / 255)), Both(Linf(0.2), L2(0.6))]
    if len(shape) == 3:
        numbers += [Rotate(20, step=5), Shift(1), Corrupt(2), Flow(0.5), Colour(8.0), Ssim(0.2), Patch(2)]
    fitting = [
        t
        for t in numbers
        if _fits(
            entry,
            t.at(torch.full((1, 1, 4, 4), 0.2), UNIT)
            if not isinstance(t, Grid)
            else t.at(torch.zeros(1, 1, 4, 4), UNIT),
        )
    ]
    if entry.name in ("in_turn", "per_target", "restarts"):
        return [Linf(0.15)]
    texts = [Edits(2)] if _fits(entry, Edits(2).at(("ab",))) else []
    return fitting + texts


def _fits(entry, around):
    return any(c.__name__ in entry.sets for c in type(around).__mro__)


def inputs(count=9, shape=(1, 4, 4), seed=0):
    """8-bit images, so that grids apply."""
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), generator=g).float() / 255


def row_model(classes=4, n=16, seed=1):
    """A two-layer network written so that a row's answer has the same bits in any batch."""
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(12, n, generator=g) / 3, torch.randn(classes, 12, generator=g)

    def call(z):
        h = torch.tanh((z.flatten(1)[:, None, :] * a).sum(2))
        return (h[:, None, :] * b).sum(2)

    return Model(call, UNIT, classes=classes, name="row model")


def text_model(classes=3):
    """Scores of a text from its characters alone: smooth enough for a greedy search, and exact."""

    def call(texts):
        out = torch.zeros(len(texts), classes)
        for i, text in enumerate(texts):
            for place, sign in enumerate(text):
                out[i, ord(sign) % classes] += 1.0 + 0.01 * (ord(sign) % 7) - 0.001 * place
        return out

    return Model(call, classes=classes, name="character counts").granting(2)


TEXTS = ("hello world", "a", "free money now", "see you at nine", "zzz", "the cat sat")


def problem(threat, seed=0):
    """Model, inputs, goal (what the model says, so that all start unbroken), ids."""
    if isinstance(threat, Edits):
        model, x = text_model(), TEXTS
    else:
        model, x = row_model(), inputs()
    y = model.ask(x).argmax(1)
    return model, x, Goal(y), [f"row {i}" for i in range(len(y))]


def key_of(ids, seed=0):
    return keys.from_ids(seed, ids)
