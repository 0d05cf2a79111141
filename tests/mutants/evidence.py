"""Faults of what is believed: NaN, ties, points outside, claims that nobody checks, verdicts that don't add up."""

from __future__ import annotations

from tests import test_goals
from tests.adapters import test_modules
from tests.auditing import test_audit, test_judge, test_verdicts
from tests.laws import test_models
from tests.oracle import test_oracle, test_remote
from tests.steps import test_combinators

from robustly.core.specs import lookup

from .mutant import Mutant, law

pgd = lookup("attack", "pgd")

EVIDENCE = (
    Mutant(
        "an answer of NaN is robust, for NaN is below nothing",
        "robustly.goals:Goal.met",
        "~(self.margin(scores) > 0) | ~torch.isfinite(scores).all(1)",
        "self.margin(scores) <= 0",
        (
            law(test_goals.test_untargeted),
            law(test_judge.test_an_answer_that_is_not_finite_holds, float("nan")),
            law(test_audit.test_nan_is_never_robust),
        ),
    ),
    Mutant(
        "an answer of NaN is robust where argmax of NaN is the label",
        "robustly.goals:Goal.met",
        "~(self.margin(scores) > 0) | ~torch.isfinite(scores).all(1)",
        "scores.argmax(1) != self.y if self.target is None else scores.argmax(1) == self.target",
        (law(test_goals.test_untargeted), law(test_judge.test_an_answer_that_is_not_finite_holds, float("-inf"))),
    ),
    Mutant(
        "a search does not see that it met NaN",
        "robustly.oracle.reading:of_scores",
        "~(margin > 0) | ~finite",
        "margin <= 0",
        (law(test_oracle.test_nan_is_never_robust),),
    ),
    Mutant(
        "a NaN in the gradient poisons the walk",
        "robustly.oracle.oracle:Oracle._slope",
        "grad = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)",
        "pass",
        (law(test_oracle.test_flat_and_broken_gradients_are_counted_and_harmless),),
    ),
    Mutant(
        "a label of NaN is a label",
        "robustly.oracle.model:_labelled",
        "torch.where(clear, scores.argmax(1), -1)",
        "scores.argmax(1)",
        (law(test_modules.test_labels_are_the_same_whether_asked_for_or_granted),),
    ),
    Mutant(
        "a tie is robust",
        "robustly.goals:Goal.met",
        "~(self.margin(scores) > 0)",
        "~(self.margin(scores) >= 0)",
        (
            law(test_goals.test_untargeted),
            law(test_audit.test_ties_count_against_the_model),
            law(test_judge.test_only_members_that_the_model_gets_wrong_hold),
        ),
    ),
    Mutant(
        "a search ends at a tie, which rounding may undo",
        "robustly.oracle.reading:of_scores",
        "(margin < -FIRM * scale) | ~finite",
        "met",
        (law(test_oracle.test_a_tie_is_evidence_but_the_search_goes_on),),
    ),
    Mutant(
        "a point outside the set is evidence",
        "robustly.oracle.ledger:Ledger.note",
        "around.contains(points).nonzero().squeeze(1)",
        "torch.arange(len(where))",
        (law(test_oracle.test_evidence_is_asked_inside_and_adversarial),),
    ),
    Mutant(
        "a row that got no answer is noted with its zeros",
        "robustly.oracle.oracle:Oracle._note_heard",
        "heard is None or bool(heard.all())",
        "True",
        (law(test_remote.test_rows_without_an_answer_are_closed_and_are_no_evidence),),
    ),
    Mutant(
        "a row that got no answer is asked again",
        "robustly.oracle.oracle:Oracle.open",
        "out & ~self.ledger.closed[self.rows]",
        "out",
        (law(test_remote.test_a_closed_row_stays_closed_where_the_search_presses_on),),
    ),
    Mutant(
        "points are judged as they were before the encoding",
        "robustly.oracle.oracle:Oracle._carried",
        "points if remote is None else remote.carried(points, self._whole.take(local))",
        "points",
        (law(test_remote.test_the_point_is_asked_and_kept_as_it_is_carried),),
    ),
    Mutant(
        "retries are free",
        "robustly.oracle.oracle:Oracle._asked_afar",
        "self.ledger.pay_each(rows, replies.spent)",
        "self.ledger.pay(rows, forward=1)",
        (law(test_remote.test_retries_are_charged_and_what_is_left_is_told),),
    ),
    Mutant(
        "the judge does not measure",
        "robustly.auditing.judge:_judged",
        "holds=met & inside",
        "holds=met",
        (law(test_judge.test_only_members_that_the_model_gets_wrong_hold),),
    ),
    Mutant(
        "the judge does not ask the model",
        "robustly.auditing.judge:_judged",
        "holds=met & inside",
        "holds=inside",
        (
            law(test_judge.test_only_members_that_the_model_gets_wrong_hold),
            law(test_models.test_a_find_that_the_model_does_not_repeat_is_no_find),
        ),
    ),
    Mutant(
        "the audit believes the attack's own claim",
        "robustly.auditing.stages:_attacked",
        "and judged.holds[k]",
        "",
        (
            law(test_audit.test_a_random_model_is_voted_on),
            law(test_models.test_a_find_that_the_model_does_not_repeat_is_no_find),
        ),
    ),
    Mutant(
        "a single attack's own claim is its result",
        "robustly.auditing.single:attack",
        "hits[judged.holds]",
        "hits",
        (law(test_models.test_a_find_that_the_model_does_not_repeat_is_no_find),),
    ),
    Mutant(
        "a random model is asked once",
        "robustly.auditing.judge:judge",
        "VOTES if random else 1",
        "1",
        (law(test_judge.test_a_random_model_is_outvoted),),
    ),
    Mutant(
        "the last point that was adversarial is kept, not the nearest",
        "robustly.oracle.ledger:Ledger.note",
        "| ~self.hit[at]",
        "| True",
        (law(test_oracle.test_pressing_on_keeps_the_nearest),),
    ),
    Mutant(
        "a target is forgotten",
        "robustly.goals:Goal.margin",
        "-_gap(scores, self.target)",
        "_gap(scores, self.y)",
        (law(test_judge.test_a_target_must_be_reached),),
    ),
    Mutant(
        "one of the targets is the true class",
        "robustly.steps.combinators:per_target",
        'scores.scatter(1, case.goal.y[:, None], float("-inf")).argsort',
        "scores.argsort",
        (law(test_combinators.test_each_wrong_class_is_aimed_at_the_likeliest_first_and_never_the_true_one),),
    ),
    Mutant(
        "what is broken at one size may stand at a larger one",
        "robustly.auditing.findings:reaches",
        "found.eps <= eps or (found.distance is not None and found.distance <= eps)",
        "found.eps == eps",
        (law(test_verdicts.test_broken_is_broken_at_every_larger_size),),
    ),
    Mutant(
        "a counterexample counts only at the size that was searched",
        "robustly.auditing.findings:reaches",
        "found.distance <= eps",
        "False",
        (law(test_verdicts.test_a_counterexample_counts_at_every_size_that_holds_it),),
    ),
    Mutant(
        "a certificate counts at larger sizes too",
        "robustly.auditing.findings:verdict",
        "found.eps >= eps",
        "True",
        (law(test_verdicts.test_certified_is_certified_at_every_smaller_size),),
    ),
    Mutant(
        "a contradiction is settled in silence",
        "robustly.auditing.findings:verdict",
        "if broken and certified and strict:",
        "if False:",
        (law(test_verdicts.test_certified_and_broken_at_once_is_a_contradiction, 0.1),),
    ),
)
