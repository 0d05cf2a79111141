"""Faults of randomness, and of examples that feel their neighbours."""

from __future__ import annotations

from tests import test_losses
from tests.attacks import test_square
from tests.core import test_keys
from tests.laws import test_attacks as laws
from tests.laws import test_company, test_draws
from tests.steps import test_combinators

from robustly.core.specs import lookup
from robustly.threats import L1, L2, Linf

from .mutant import Mutant, law

pgd, cw, square, noise, apgd = (lookup("attack", n) for n in ("pgd", "cw", "square", "noise", "apgd"))
alike = laws.test_an_example_is_the_same_alone_and_in_any_batch
by_itself = test_company.test_each_number_of_the_ledger_is_the_same_alone
own = test_draws.test_each_example_draws_its_own

RANDOMNESS = (
    Mutant(
        "one random window serves all examples",
        "robustly.attacks.square:_corner",
        "    return",
        "    words = words[:1].expand_as(words)\n    return",
        (law(alike, square, Linf(0.15)),),
    ),
    Mutant(
        "one random draw serves all examples",
        "robustly.core.keys:bits",
        "_philox(key,",
        "_philox(key[:1].expand_as(key),",
        (
            law(own, noise, L2(0.6)),
            law(own, square, Linf(0.15)),
            law(own, pgd, L1(2.0)),
            law(test_keys.test_draws_do_not_depend_on_neighbours),
            law(test_square.test_each_example_has_its_own_windows),
        ),
    ),
    Mutant(
        "noise comes from the state of the process",
        "robustly.core.keys:uniform",
        "(bits(key, math.prod(shape)) >> 8)",
        "torch.randint(0, 2**24, (len(key), math.prod(shape)))",
        (law(laws.test_same_seed_same_bits, noise, Linf(0.15)), law(alike, pgd, Linf(0.15))),
    ),
    Mutant(
        "restarts start where the first one did",
        "robustly.steps.combinators:restarts",
        "fold(case.key, number)",
        "case.key",
        (
            law(test_draws.test_each_try_draws_afresh, "restarts"),
            law(test_combinators.test_every_restart_target_and_turn_has_its_own_key),
        ),
    ),
    Mutant(
        "equal attacks in turn repeat each other",
        "robustly.steps.combinators:in_turn",
        "key=fold(case.key, index)",
        "key=case.key",
        (
            law(test_draws.test_each_try_draws_afresh, "in turn"),
            law(test_combinators.test_every_restart_target_and_turn_has_its_own_key),
        ),
    ),
    Mutant(
        "a loss is the mean over the batch",
        "robustly.losses:cross_entropy",
        'F.cross_entropy(scores, goal.y, reduction="none")',
        "F.cross_entropy(scores, goal.y).expand(len(scores))",
        (
            law(test_losses.test_any_number_of_classes_and_no_mixing_of_rows, lookup("loss", "cross_entropy"), 10),
            law(by_itself, apgd, L2(0.6)),
        ),
    ),
    Mutant(
        "a gradient is divided by the size of the batch",
        "robustly.oracle.oracle:Oracle._slope",
        "torch.autograd.grad(value.sum(), points, retain_graph=again, allow_unused=True)",
        "torch.autograd.grad(value.mean(), points, retain_graph=again, allow_unused=True)",
        (law(alike, cw, L2(0.6)),),
    ),
    Mutant(
        "the search stops for all examples when one has stalled",
        "robustly.attacks.cw:_checked",
        "~(objective > STALLED * state.checked)",
        "~(objective > STALLED * state.checked).any()",
        (law(alike, cw, L1(2.0)),),
    ),
)
