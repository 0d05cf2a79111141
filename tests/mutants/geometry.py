"""Faults of directions, projections, samples and units."""

from __future__ import annotations

from tests.attacks import test_gradient
from tests.auditing import test_audit
from tests.exact import test_attacks as exact
from tests.laws import test_attacks as laws
from tests.laws import test_company, test_extremes, test_masks, test_projections, test_sets, test_units

from robustly.core.specs import lookup
from robustly.threats import L1, L2, Linf

from .mutant import Mutant, law

IMAGE, LINE = (3, 2, 4), (4,)
pgd, bim, apgd = (lookup("attack", name) for name in ("pgd", "bim", "apgd"))
nearest = test_projections.test_no_member_lies_beyond_the_projection
by_itself = test_company.test_each_number_of_the_ledger_is_the_same_alone
alike = laws.test_an_example_is_the_same_alone_and_in_any_batch

GEOMETRY = (
    Mutant(
        "steps shorten as the batch grows",
        "robustly.threats.l2:L2Ball.steepest",
        "column(g.flatten(1).norm(dim=1).clamp_min(1e-30), g)",
        "g.norm().clamp_min(1e-30)",
        (
            law(alike, bim, L2(0.6)),
            law(test_sets.test_rows_can_be_taken, "l2", IMAGE),
            law(exact.test_pgd_is_exact, "sphere", "l2"),
        ),
    ),
    Mutant(
        "momentum is scaled by the mean gradient of the batch",
        "robustly.steps.transforms:momentum",
        "column(mean, change)",
        "mean.mean()",
        (law(alike, lookup("attack", "mifgsm"), L2(0.6)),),
    ),
    Mutant(
        "for l1 only the example of largest gradient moves",
        "robustly.threats.l1:L1Ball.steepest",
        "flat.gather(1, best).sign()",
        "(flat.gather(1, best) * (flat.abs().amax(1, keepdim=True) == flat.abs().max())).sign()",
        (law(alike, bim, L1(2.0)), law(test_sets.test_rows_can_be_taken, "l1", IMAGE), law(by_itself, pgd, L1(2.0))),
    ),
    Mutant(
        "l1 projection rescales and clips",
        "robustly.threats.l1:L1Ball.project",
        "soft = (size - shrink).clamp_min(0).to(d.dtype).view_as(d) * d.sign()",
        "soft = d * column((self.inner / size.sum(1).clamp_min(1e-30)).clamp(max=1).to(d.dtype), d)",
        (law(nearest, "l1", IMAGE), law(nearest, "l1 free", LINE)),
    ),
    Mutant(
        "l2 projection rescales and clips",
        "robustly.threats.l2:L2Ball.project",
        "self._stretch(d, 1.0)",
        "(self.inner / d.flatten(1).norm(dim=1).clamp_min(1e-30)).clamp(max=1)",
        (law(nearest, "l2", IMAGE), law(nearest, "linf and l2", LINE)),
    ),
    Mutant(
        "a projection clips to the domain and forgets the ball",
        "robustly.threats.l2:L2Ball.project",
        "column(self._stretch(d, 1.0), d) * d",
        "d",
        (law(test_sets.test_projections_are_members, "l2", IMAGE),),
    ),
    Mutant(
        "inputs are taken to lie in [0, 1]",
        "robustly.threats.ball:Ball.clip",
        "torch.minimum(torch.maximum(z, self.low), self.high)",
        "torch.minimum(torch.maximum(z, self.low), self.high).clamp(0, 1)",
        (
            law(test_sets.test_projections_are_members, "linf range 255", IMAGE),
            law(test_units.test_units_do_not_matter, pgd, L2(0.6)),
            law(test_gradient.test_any_input_range, "pgd"),
        ),
    ),
    Mutant(
        "a walk goes on until a bound of 0 or 1 is met, so never ends elsewhere",
        "robustly.steps.walk:ascend",
        "        for index in range(steps):\n",
        "        from itertools import count\n"
        "        for index in count():\n"
        "            if index >= steps and ((step.last(state) == 0) | (step.last(state) == 1)).any():\n"
        "                break\n",
        (law(test_units.test_units_do_not_matter, pgd, Linf(0.001)),),
    ),
    Mutant(
        "a random start fails on images",
        "robustly.threats.l2:L2Ball.sample",
        "column(torch.where(finite, self.inner, 0) * length, direction)",
        "(torch.where(finite, self.inner, 0) * length)[:, None]",
        (
            law(test_sets.test_samples_are_members_and_differ, "l2", IMAGE),
            law(test_extremes.test_any_shape_works, pgd, IMAGE),
        ),
        RuntimeError,
    ),
    Mutant(
        "distance is measured after the inputs are scaled to [0, 1]",
        "robustly.threats.linf:LinfBall.distance",
        ".amax(1)",
        ".amax(1) / (self.domain.high - self.domain.low if self.domain.high < 1e30 else 1)",
        (
            law(test_sets.test_what_lies_outside_is_no_member, "linf range 255", IMAGE),
            law(test_units.test_units_do_not_matter, pgd, Linf(0.15)),
        ),
    ),
    Mutant(
        "eps is applied after a normalisation by a deviation of 1/4",
        "robustly.auditing.problem:Problem.around",
        "with_eps(self.threat, eps)",
        "with_eps(self.threat, eps * 4)",
        (law(test_audit.test_verdicts_are_the_truth_where_it_is_known),),
    ),
    Mutant(
        "a mask is accepted and ignored",
        "robustly.threats.coordinates:row_mask",
        "    return mask\n",
        "    return None\n",
        tuple(law(test_masks.test_masked_numbers_stay_and_the_others_move, name) for name in ("linf", "l2", "grid")),
    ),
    Mutant(
        "a point is rounded to 8 bits after it was projected",
        "robustly.threats.grid:GridSet.project",
        "torch.where(column(self.ball.contains(near), z), near, out)",
        "near",
        (law(test_sets.test_projections_are_members, "l2 8 bit", IMAGE),),
    ),
    Mutant(
        "a certifier bounds the ball by the wrong dual norm",
        "robustly.threats.ball:Ball.support",
        "(wide * move).sum(1) * (1 + 2e-5)",
        "(wide * move).abs().amax(1)",
        (law(test_sets.test_support_and_box_enclose, "l2", IMAGE),),
    ),
    Mutant(
        "one eps serves the whole batch",
        "robustly.steps.transforms:by_radius",
        "column(radius * fraction, change)",
        "radius.max() * fraction",
        (law(by_itself, pgd, Linf(0.15)), law(by_itself, apgd, L2(0.6))),
    ),
)
