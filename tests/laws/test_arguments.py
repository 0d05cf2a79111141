"""Every registered thing refuses an argument it does not know, and can be made again from its spec."""

import importlib
import inspect
import pkgutil

import pytest
import torch

import robustly
from robustly.core.errors import UsageError
from robustly.core.specs import build, entries, spec
from robustly.oracle import Oracle
from robustly.steps import Case

from .cases import attacks, key_of, problem, small_attack, threats_for

ENTRIES = [
    pytest.param(e, id=f"{e.kind} {e.name}") for k in ("attack", "certifier", "loss", "start") for e in entries(k)
]


def public_functions():
    """(where, function) of every public function and method of the package."""
    for module in pkgutil.walk_packages(robustly.__path__, "robustly."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.name:
                continue
            if inspect.isclass(value):
                yield from (
                    (f"{module.name}:{name}.{k}", f)
                    for k, f in vars(value).items()
                    if inspect.isfunction(f) and not k.startswith("_")
                )
            elif inspect.isfunction(value):
                yield f"{module.name}:{name}", value


def test_no_public_function_swallows_arguments():
    """A `**kwargs` accepts every misspelling; `inspect` follows a factory to the function it wraps."""
    found = [
        where
        for where, f in public_functions()
        if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(f).parameters.values())
    ]
    assert not found


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_misspelt_argument_is_refused(entry):
    needed = {
        k: None for k, default in entry.parameters.items() if default is inspect.Parameter.empty and k != "attacks"
    }
    with pytest.raises(TypeError, match="stpes"):
        entry.make(**needed, stpes=3)
    with pytest.raises(UsageError, match=f'"{entry.name}" has no argument "stpes"'):
        build(entry.kind, entry.name, {"stpes": 3})


def test_a_new_factory_refuses_what_it_does_not_know():
    @spec("toy")
    def toy(steps: int = 3):
        return lambda: steps

    assert toy(4).spec.args == (("steps", 4),)
    assert toy(steps=5)() == 5
    with pytest.raises(TypeError, match="stpes"):
        toy(stpes=4)


@pytest.mark.parametrize("entry", [pytest.param(e, id=e.name) for e in attacks()])
def test_an_attack_made_again_from_its_spec_asks_the_same(entry):
    made = small_attack(entry)
    threat = threats_for(entry)[0]
    ledgers = []
    for attack in (made, made.spec.build()):
        model, x, goal, ids = problem(threat)
        around = threat.at(x, model.domain)
        oracle = Oracle(model, around, goal)
        attack(Case(around, goal, key_of(ids), oracle))
        ledgers.append(oracle.ledger)
    again = made.spec.build()
    assert again.spec == made.spec
    assert again is not made
    assert torch.equal(ledgers[0].forward, ledgers[1].forward)
    assert torch.equal(ledgers[0].best_margin, ledgers[1].best_margin)
