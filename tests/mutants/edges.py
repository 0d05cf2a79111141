"""Faults at the edges: arguments, modes, few steps, few classes, files."""

from __future__ import annotations

from tests import test_losses
from tests.adapters import test_modules
from tests.auditing import test_audit, test_resume
from tests.core import test_specs
from tests.exact import test_attacks as exact
from tests.laws import test_arguments, test_extremes, test_models
from tests.steps import test_combinators

from robustly.core.errors import RunError, UsageError
from robustly.core.specs import lookup
from robustly.threats import L2, Linf

from .mutant import Mutant, law

pgd, cw, square = (lookup("attack", name) for name in ("pgd", "cw", "square"))


def resumed(tmp_path) -> None:
    """A run that is loaded again is the run it was."""
    test_resume.test_a_finished_run_is_not_run_again(problem(), tmp_path)


def refused(tmp_path) -> None:
    """A run is not gone on with under another seed."""
    test_resume.test_other_arguments_are_refused_and_named(problem(), tmp_path, {"seed": 1}, "seed")


def problem():
    """A fresh network with inputs it reads correctly."""
    net = test_audit.linear()
    x, y = test_audit.examples(net, 20)
    return net, x[:15], y[:15]


EDGES = (
    Mutant(
        "a misspelt argument is dropped by the factory",
        "robustly.core.specs:spec",
        "signature.bind(*args, **kwargs)",
        "signature.bind(*args, **{k: v for k, v in kwargs.items() if k in signature.parameters})",
        (law(test_arguments.test_a_new_factory_refuses_what_it_does_not_know),),
    ),
    Mutant(
        "a misspelt argument is dropped from a plan",
        "robustly.core.specs:build",
        "        if key not in known:\n            raise",
        "        if key not in known:\n            continue\n            raise",
        (law(test_arguments.test_a_misspelt_argument_is_refused, pgd),),
    ),
    Mutant(
        "a spec forgets the attacks inside",
        "robustly.core.specs:_recorded",
        "return tuple(_recorded(v) for v in value)",
        "return value",
        (law(test_specs.test_a_nested_attack_is_rebuilt_from_its_spec),),
        (AssertionError, AttributeError),
    ),
    Mutant(
        "asking leaves the model in training mode",
        "robustly.adapters.modules:_caller",
        "return module(z.to(dtype) if dtype is not None and isinstance(z, torch.Tensor) else z)",
        "out = module.eval()(z.to(dtype) if dtype is not None and isinstance(z, torch.Tensor) else z)\n"
        "        module.train()\n"
        "        return out",
        (
            law(test_modules.test_a_module_gives_its_own_scores_and_gradients_and_comes_out_untouched),
            law(test_audit.test_the_model_is_left_as_it_was),
        ),
    ),
    Mutant(
        "a model in training mode is switched in silence",
        "robustly.adapters.modules:refuse_training",
        "    if parts:",
        "    module.eval()\n    if False:",
        (
            law(test_modules.test_a_module_in_training_mode_is_refused_with_the_line_to_write, None),
            law(test_audit.test_a_module_in_training_mode_is_refused),
        ),
    ),
    Mutant(
        "the model is asked in the attack's own memory",
        "robustly.oracle.oracle:Oracle._asked",
        "points.clone() if isinstance(points, Tensor) else points",
        "points",
        (law(test_models.test_a_model_that_writes_into_its_input_changes_nothing, square, Linf(0.15)),),
    ),
    Mutant(
        "few queries divide by zero",
        "robustly.attacks.square:shrinkage",
        "index / queries",
        "index / (queries - 2)",
        (law(test_extremes.test_least_settings_work, square, Linf(0.15), 1),),
        ZeroDivisionError,
    ),
    Mutant(
        "few steps divide by zero",
        "robustly.attacks.cw:descend",
        "max(steps // CHECKS, 1)",
        "steps // CHECKS",
        (law(test_extremes.test_least_settings_work, cw, L2(0.6), 0),),
        ZeroDivisionError,
    ),
    Mutant(
        "a loss wants four classes",
        "robustly.losses:dlr",
        "top[:, 2], top[:, min(3, last)]",
        "top[:, 2], top[:, 3]",
        (law(test_losses.test_any_number_of_classes_and_no_mixing_of_rows, lookup("loss", "dlr"), 3),),
        IndexError,
    ),
    Mutant(
        "nine targets want ten classes",
        "robustly.steps.combinators:per_target",
        "range(min(targets, scores.shape[1] - 1))",
        "range(targets)",
        (
            law(test_combinators.test_as_many_targets_as_asked_and_there_are, 9, 3),
            law(exact.test_apgd_is_exact, "binary", "linf"),
        ),
        (IndexError, AssertionError),
    ),
    Mutant(
        "a saved record lacks what its reader wants",
        "robustly.core.records:Record.to_json",
        "indent=1",
        "indent=1, exclude_defaults=True",
        (law(test_audit.test_the_folder_holds_the_record_and_the_counterexamples),),
        UsageError,
    ),
    Mutant(
        "a counterexample is filed under another name than it is looked for",
        "robustly.core.points:save_pair",
        "digest = digest_of(content)",
        "digest = digest_of(content[::-1])",
        (law(test_audit.test_the_folder_holds_the_record_and_the_counterexamples),),
        RunError,
    ),
    Mutant(
        "an interrupted run cannot be loaded again",
        "robustly.auditing.store:Store.findings",
        "Finding.model_validate_json(row[0])",
        "Finding.model_construct(**json.loads(row[0])[0])",
        (resumed,),
        (KeyError, TypeError),
    ),
    Mutant(
        "a run is gone on with under other arguments",
        "robustly.auditing.store:compare_request",
        "if stored.get(n) != wanted.get(n)",
        "if False",
        (refused,),
    ),
)
