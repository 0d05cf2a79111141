"""Randomness belongs to the example and the try: equal inputs draw different points, and so do restarts."""

from dataclasses import replace

import pytest
import torch

from robustly.attacks.noise import noise
from robustly.attacks.pgd import pgd
from robustly.goals import Goal
from robustly.oracle import Oracle
from robustly.steps import Case, in_turn, restarts
from robustly.threats import Edits, Linf

from .cases import TEXTS, attacks, inputs, key_of, row_model, small_attack, text_model, threats_for

PAIRS = [pytest.param(e, t, id=f"{e.name} {t}") for e in attacks() for t in threats_for(e)]


def asked(attack, threat, count=6, seed=0):
    """All batches the model is asked, where every example is the same input under another name."""
    texts = isinstance(threat, Edits)
    model, x = (text_model(), TEXTS[:1] * count) if texts else (row_model(), inputs(1).expand(count, -1, -1, -1))
    goal, seen = Goal(model.ask(x).argmax(1)), []

    def call(z):
        seen.append(z if isinstance(z, tuple) else z.detach().clone())
        return model.call(z)

    around = threat.at(x, model.domain)
    oracle = Oracle(replace(model, call=call), around, goal, press_on=True)
    attack(Case(around, goal, key_of([str(i) for i in range(count)], seed), oracle))
    return seen


DRAWS_NOTHING = (
    "fgsm", "bim", "mifgsm", "nifgsm", "cw", "cw_l0", "cw_linf", "sweep", "jsma", "sigma_zero", "sparsefool", "alma", "ddn",
    "deepfool", "superdeepfool", "ead", "fmn", "pdpgd", "trust_region", "closing_in", "fab", "fab_t", "brendel_bethge",
    "pifgsm", "tifgsm", "sinifgsm", "transfer_pgd",
    "rays",
    "stadv", "perc_cw",
)  # fmt: skip
"""Attacks without chance at the small settings of the laws."""


def same(a, b):
    return a == b if isinstance(a, tuple) else a.shape == b.shape and torch.equal(a, b)


def different(z):
    return len(set(z)) if isinstance(z, tuple) else len(z.unique(dim=0))


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_each_example_draws_its_own(entry, threat):
    """The first batch that another seed asks otherwise is not the same for every example either (later ones may meet)."""
    first, other = (asked(small_attack(entry), threat, seed=s) for s in (0, 1))
    drawn = next((a for a, b in zip(first, other, strict=False) if not same(a, b)), None)
    if drawn is None:
        assert entry.name in DRAWS_NOTHING
    else:
        assert different(drawn) > 1


SEVERAL = {
    "restarts": lambda: restarts(pgd(1), 4),
    "in turn": lambda: in_turn(pgd(1), pgd(1), pgd(1), pgd(1)),
    "noise": lambda: noise(4),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_each_try_draws_afresh(name):
    tries = [z[0] for z in asked(SEVERAL[name](), Linf(0.05))]
    assert len(torch.stack(tries).unique(dim=0)) == len(tries) >= 4
