"""Points found on a surrogate are asked of the model, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.attacks.small import small

from robustly.attacks.pgd import pgd
from robustly.attacks.transferred import transferred
from robustly.core.errors import UsageError
from robustly.losses import margin
from robustly.oracle import Access
from robustly.threats import Linf


def test_what_breaks_a_model_breaks_its_double_for_one_query():
    one = small()
    asked = one.run(pgd(20), Linf(0.2))
    labels = one.granting(Access.LABELS)
    ledger = labels.run(transferred(one.model, pgd(20)), Linf(0.2))
    assert asked.hit.double().mean() > 0.5
    assert ledger.hit[asked.hit].double().mean() > 0.9
    assert (ledger.forward == 1).all()
    assert (ledger.backward == 0).all()


def test_where_the_surrogate_holds_its_weakest_point_is_asked_and_may_break_the_model():
    one = small()

    def surer(z):
        """The model with a bonus for the right label, so that no small change breaks it."""
        near = torch.cdist(z.flatten(1), one.x.flatten(1)).argmin(1)
        return one.model.call(z) + 100 * torch.eye(4)[one.y[near]]

    surrogate = replace(one.model, call=surer)
    assert not replace(one, model=surrogate).run(pgd(20), Linf(0.2)).hit.any()
    broken = one.run(pgd(20), Linf(0.2)).hit
    ledger = one.granting(Access.LABELS).run(transferred(surrogate, pgd(20, loss=margin)), Linf(0.2))
    assert (ledger.forward == 1).all()
    assert ledger.hit[broken].double().mean() > 0.9


def test_rows_that_are_broken_are_not_asked_again():
    one = small()
    broken = one.run(pgd(20), Linf(0.2)).hit

    def call(z):
        """As the surrogate, but for points near every other input, which it knows by heart."""
        near = torch.cdist(z.flatten(1), one.x.flatten(1)).argmin(1)
        return torch.where((near % 2 == 1)[:, None], torch.eye(4)[one.y[near]], one.model.call(z))

    target = replace(one, model=replace(one.model, call=call)).granting(Access.LABELS)
    ledger = target.run(transferred(one.model, pgd(20), times=3), Linf(0.2))
    assert ledger.hit[::2].any()
    assert (ledger.forward[ledger.hit] < 3).all()
    assert not ledger.hit[1::2].any()
    assert (ledger.forward[1::2][broken[1::2]] == 3).all()
    assert broken[1::2].any()


def test_a_surrogate_without_gradients_is_refused():
    blind = replace(small().model, access=Access.SCORES)
    with pytest.raises(UsageError, match="gives no gradients"):
        transferred(blind, pgd(3))


def test_a_surrogate_that_is_no_model_is_refused():
    with pytest.raises(UsageError, match="a surrogate is a Model, got a function"):
        transferred(small().model.call, pgd(3))


def test_the_surrogate_is_named_by_its_weights():
    surrogate = replace(small().model, name="other", digest="0123456789abcdef")
    assert "other#0123456789ab" in str(transferred(surrogate, pgd(3)).spec)
