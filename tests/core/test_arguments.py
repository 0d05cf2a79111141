"""An argument of the wrong type is refused when the thing is made, whoever makes it, and the message says what to write."""

import inspect

import numpy as np
import pytest
import torch
from tests.laws.cases import small_attack

from robustly import in_turn, pgd, restarts
from robustly.attacks.ddn import ddn
from robustly.core.arguments import plain
from robustly.core.errors import UsageError
from robustly.core.specs import build, entries, spec


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: restarts(pgd(), times=2.0),
            r"times of restarts .* whole number .*got 2\.0\. Write restarts\(times=2\)",
        ),
        (lambda: pgd(steps=True), "steps of pgd .*got True"),
        (lambda: pgd(steps="20"), r"steps of pgd .*got '20'\. Write pgd\(steps=20\)"),
        (lambda: pgd(steps=None), "steps of pgd .*got None"),
        (lambda: pgd(steps=torch.tensor(3)), "steps of pgd .*got tensor"),
        (lambda: pgd(size="0.1"), r"size of pgd .*got '0\.1'\. Write pgd\(size=0\.1\)"),
        (lambda: pgd(size=False), "size of pgd .*got False"),
        (lambda: pgd(size=float("nan")), "size of pgd .*got nan"),
        (lambda: pgd(loss="margin"), "loss of pgd .*function such as cross_entropy"),
        (lambda: ddn(levels=1.5), "levels of ddn .*whole number such as 20 or None"),
        (lambda: ddn(last_gamma="x"), "last_gamma of ddn .*or None, got 'x'"),
        (lambda: restarts(pgd), r"inner of restarts is what pgd makes: write pgd\(\)"),
        (lambda: restarts("pgd"), "inner of restarts must be an attack"),
        (lambda: in_turn(pgd(), pgd), r"attacks of in_turn is what pgd makes"),
        (lambda: build("attack", "in_turn", {"attacks": 3}), "attacks of in_turn are a list"),
        (lambda: build("attack", "pgd", {"steps": 2.0}), r"Write pgd\(steps=2\)"),
    ],
)
def test_refused(make, says):
    with pytest.raises(UsageError, match=says):
        make()


def test_numbers_of_other_libraries_become_pythons_own():
    made = pgd(steps=np.int64(3), size=np.float32(0.5))
    assert str(made.spec).startswith("pgd(steps=3, size=0.5,")
    assert pgd(size=1).spec.args[1] == ("size", 1)  # a whole number is a number
    assert dict(ddn(levels=None, last_gamma=None).spec.args)["levels"] is None


def test_attacks_inside_attacks_are_built_by_name_or_table():
    inner = {"attack": "pgd", "steps": 2}
    assert build("attack", "restarts", {"inner": "pgd"}).spec == restarts(pgd()).spec
    assert build("attack", "in_turn", {"attacks": ["pgd", inner]}).spec == in_turn(pgd(), pgd(2)).spec


def test_annotations_are_read_as_text_and_as_types():
    assert plain("int | None") == plain(int | None) == (int, type(None))
    assert plain("Attack") == plain("Attack | int") == plain(torch.Tensor) == ()

    @spec("toy")
    def made_of_types(count: int = 3):
        return lambda: count

    with pytest.raises(UsageError, match="count of made_of_types"):
        made_of_types(2.0)


ARGUMENTS = [
    pytest.param(entry, name, id=f"{entry.name} {name}")
    for entry in entries("attack")
    if "surrogate" not in entry.parameters
    for name, parameter in inspect.signature(entry.make).parameters.items()
    if set(plain(parameter.annotation)) & {int, float}
]


@pytest.mark.parametrize(("entry", "name"), ARGUMENTS)
def test_every_number_of_every_attack_is_held_to_its_kind(entry, name):
    given = dict(small_attack(entry).spec.args)
    given = {k: v.build() if hasattr(v, "build") else v for k, v in given.items()}
    whole = int in plain(inspect.signature(entry.make).parameters[name].annotation)
    for wrong in ("0.5", True, *([2.5, 2.0] if whole else [])):
        with pytest.raises(UsageError, match=f"{name} of {entry.name} must be .*{wrong}"):
            entry.make(**{**given, name: wrong})
