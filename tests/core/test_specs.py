"""What is made can be made again from its spec, and a wrong name is met with the nearest right one."""

import pytest

from robustly.attacks.apgd import apgd
from robustly.attacks.pgd import pgd
from robustly.core.errors import UsageError
from robustly.core.specs import build, entries, from_table, lookup
from robustly.losses import margin
from robustly.steps import in_turn, per_target


def test_arguments_are_captured_by_name_with_defaults():
    made = pgd(7, loss=margin)
    assert str(made.spec) == "pgd(steps=7, size=0.1, loss=margin, start=uniform)"


def test_a_nested_attack_is_rebuilt_from_its_spec():
    made = in_turn(pgd(3), per_target(apgd(5, loss=margin), 2))
    again = made.spec.build()
    assert again.spec == made.spec
    assert again is not made
    assert [leaf.name for leaf in made.spec.leaves()] == ["pgd", "apgd"]


def test_a_table_builds_the_same():
    table = {"attack": "per_target", "targets": 2, "inner": {"attack": "apgd", "steps": 5, "loss": "margin"}}
    assert from_table(table, "x").spec == per_target(apgd(5, loss=margin), 2).spec


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lookup("attack", "pgdd"), '"pgd"'),
        (lambda: build("attack", "pgd", {"step": 3}), '"steps"'),
        (lambda: build("attack", "pgd", {"loss": "marginn"}), '"margin"'),
        (lambda: build("attack", "per_target", {}), '"inner"'),
        (lambda: from_table({"steps": 3}, "stage 1"), "stage 1"),
    ],
)
def test_wrong_names_are_met_with_the_nearest(call, says):
    with pytest.raises(UsageError, match=says):
        call()


def test_a_misspelt_argument_is_not_swallowed():
    with pytest.raises(TypeError, match="stpes"):
        pgd(stpes=3)


def test_every_attack_says_what_it_is():
    for entry in entries("attack"):
        assert entry.summary.endswith((".", "eps.")), entry.name
        assert entry.needs in ("gradients", "scores", "labels")
