"""Faults of bills and budgets."""

from __future__ import annotations

from tests.attacks import test_apgd, test_gradient
from tests.auditing import test_audit
from tests.core import test_specs
from tests.exact import test_attacks as exact
from tests.laws import test_attacks as laws
from tests.laws import test_bills
from tests.oracle import test_oracle

from robustly.core.specs import lookup
from robustly.threats import Edits, Linf

from .mutant import Mutant, law

pgd, greedy, square, noise = (lookup("attack", name) for name in ("pgd", "greedy", "square", "noise"))
counted, kept = laws.test_every_pass_is_counted, laws.test_a_budget_is_never_exceeded_and_equals_what_the_model_saw

COUNTING = (
    Mutant(
        "gradients are not billed",
        "robustly.oracle.oracle:Oracle._slope",
        "self._pay(local, backward=1)",
        "pass",
        (
            law(test_bills.test_every_backward_pass_is_counted, pgd, Linf(0.15)),
            law(test_oracle.test_a_gradient_is_one_pass_of_each_kind_and_its_forward_is_evidence),
            law(test_gradient.test_passes_of_a_survivor, "pgd"),
        ),
    ),
    Mutant(
        "a gradient's forward pass is not billed",
        "robustly.oracle.oracle:Oracle._traced",
        "self._pay(local, forward=1)",
        "pass",
        (law(counted, pgd, Linf(0.15)), law(test_audit.test_passes_are_those_the_model_saw)),
    ),
    Mutant(
        "candidates are asked without being billed",
        "robustly.oracle.oracle:Oracle._asked",
        "self._pay(local, forward=1)",
        "pass",
        (law(counted, square, Linf(0.15)), law(counted, greedy, Edits(2))),
    ),
    Mutant(
        "candidates of one row are billed once",
        "robustly.oracle.ledger:Ledger.pay",
        "self.forward.index_add_(0, rows, forward * one)",
        "self.forward[rows] += forward",
        (law(counted, greedy, Edits(2)),),
    ),
    Mutant(
        "what is known already is billed again",
        "robustly.oracle.oracle:Oracle.clean_scores",
        "    return self._clean",
        "    self.ledger.pay(self.rows, forward=1)\n    return self._clean",
        (law(test_bills.test_clean_scores_are_asked_once_and_paid_once),),
    ),
    Mutant(
        "what is known already is asked again",
        "robustly.oracle.oracle:Oracle.clean_scores",
        "if self._clean is None:",
        "if True:",
        (law(test_bills.test_clean_scores_are_asked_once_and_paid_once),),
    ),
    Mutant(
        "the budget is looked at after a batch of candidates",
        "robustly.oracle.oracle:Oracle._affordable",
        "asked & (_turn(owner, asked, len(self.rows)) < left[owner])",
        "asked & (left[owner] > 0)",
        (
            law(test_oracle.test_proposals_are_charged_to_their_owner_and_stop_at_the_budget),
            law(kept, greedy, Edits(2), 7),
        ),
    ),
    Mutant(
        "a budget has room for one more",
        "robustly.oracle.oracle:Oracle.open",
        "<= self.limits.queries",
        "<= self.limits.queries + 1",
        (law(kept, pgd, Linf(0.15), 1), law(kept, noise, Linf(0.15), 3)),
    ),
    Mutant(
        "rows that are decided are asked again",
        "robustly.oracle.oracle:Oracle.open",
        "~self.ledger.firm[self.rows]",
        "torch.ones_like(self.rows, dtype=torch.bool)",
        (law(test_oracle.test_decided_rows_are_not_asked_again_unless_pressed_on),),
    ),
    Mutant(
        "the judge's passes are not on the bill",
        "robustly.auditing.stages:_attacked",
        "_charge(spent, index[hits], passes)",
        "pass",
        (law(test_audit.test_passes_are_those_the_model_saw),),
    ),
    Mutant(
        "the number of steps asked for never reaches the attack",
        "robustly.attacks.apgd:apgd",
        "adaptive(checkpoints(steps), rho), steps)",
        "adaptive(checkpoints(10), rho), 10)",
        (law(test_gradient.test_passes_of_a_survivor, "apgd"), law(test_apgd.test_few_steps, 2)),
    ),
    Mutant(
        "a plan's arguments never reach the attack",
        "robustly.core.specs:build",
        "entry.make(*listed, **values)",
        "entry.make(*listed, **{k: v for k, v in values.items() if known[k] is inspect.Parameter.empty})",
        (law(test_specs.test_a_table_builds_the_same),),
    ),
    Mutant(
        "the last point is never asked",
        "robustly.steps.walk:ascend",
        "        if len(case.key):\n            case.oracle.scores(_home(case, step.last(state)))",
        "        pass",
        (
            law(test_gradient.test_a_single_step, "apgd"),
            law(exact.test_fgsm_is_exact_for_a_linear_model, "linf"),
            law(test_gradient.test_passes_of_a_survivor, "fgsm"),
        ),
    ),
)
