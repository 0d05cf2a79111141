"""What a model does to its input, or answers only now and then, deceives no attack and no audit."""

from dataclasses import replace

import pytest
import torch

from robustly import attack, audit
from robustly.attacks.pgd import pgd
from robustly.oracle import Model
from robustly.threats import Edits, Linf

from .cases import UNIT, inputs, problem, row_model
from .test_attacks import PAIRS, run


@pytest.mark.parametrize(("entry", "threat"), PAIRS)
def test_a_model_that_writes_into_its_input_changes_nothing(entry, threat):
    if isinstance(threat, Edits):
        return
    model = problem(threat)[0]

    def scribbling(z):
        out = model.call(z.clone())
        z.data.zero_()  # past autograd's own watch
        return out

    plain, written = (run(entry, threat, model=m)[0] for m in (model, replace(model, call=scribbling)))
    assert torch.equal(plain.forward, written.forward)
    assert torch.equal(plain.best_margin, written.best_margin)
    assert torch.equal(plain.point, written.point)


def two_faced():
    """Errs wherever a gradient is asked for, and nowhere else: what an attack then sees is not so."""
    model = row_model()
    return lambda z: model.call(z) * (-1 if torch.is_grad_enabled() and z.requires_grad else 1)


def test_a_find_that_the_model_does_not_repeat_is_no_find():
    x = inputs()
    y = row_model().ask(x).argmax(1)
    threat = Linf(1e-6)
    assert Model(two_faced(), UNIT).answer(x.clone().requires_grad_()).argmax(1).ne(y).all()
    found = attack(pgd(3), two_faced(), x, y, threat, range=(0, 1))
    assert not found.success.any()
    assert torch.equal(found.x, x)
    assert found.distance.isinf().all()
    record = audit(two_faced(), (x, y), threat, plan=[pgd(3)], range=(0, 1))
    assert record.summary.broken == 0
    assert record.summary.judged_misses > 0
    assert any("judged-miss" in row.flags for row in record.rows)
