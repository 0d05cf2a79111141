"""Each known fault, put in on purpose, is caught, and the laws that catch it hold without it."""

from __future__ import annotations

import inspect

import pytest
import torch

from .counting import COUNTING
from .edges import EDGES
from .evidence import EVIDENCE
from .geometry import GEOMETRY
from .mutant import DoesNotApply, Law, Mutant
from .randomness import RANDOMNESS

MUTANTS = (*GEOMETRY, *RANDOMNESS, *COUNTING, *EVIDENCE, *EDGES)
EACH = pytest.mark.parametrize(
    ("mutant", "law"), [pytest.param(m, one, id=f"{m.fault} [{i}]") for m in MUTANTS for i, one in enumerate(m.laws)]
)


def held(law: Law, tmp_path) -> None:
    """Hold the law, with a folder where it asks for one."""
    wants = inspect.signature(law).parameters
    law(**({"tmp_path": tmp_path} if "tmp_path" in wants else {}))


@EACH
def test_the_law_holds_on_the_code_and_fails_on_the_mutant(mutant: Mutant, law: Law, tmp_path, monkeypatch):
    (tmp_path / "sound").mkdir()
    (tmp_path / "mutant").mkdir()
    held(law, tmp_path / "sound")
    with monkeypatch.context() as patch:
        mutant.plant(patch)
        torch.manual_seed(
            0
        )  # a mutant that draws from the state of the process draws the same in every run of the tests
        with pytest.raises(mutant.fails):
            held(law, tmp_path / "mutant")


def test_there_are_many_and_each_is_another_fault():
    assert len(MUTANTS) >= 30
    assert len({m.fault for m in MUTANTS}) == len(MUTANTS)
    assert len({(m.where, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)
    assert all(m.laws for m in MUTANTS)


@pytest.mark.parametrize("old", ["no such words", "g"])
def test_a_mutant_whose_words_moved_says_so(old, monkeypatch):
    lost = Mutant("none", "robustly.threats.l2:L2Ball.steepest", old, "pass", ())
    with pytest.raises(DoesNotApply, match="times the words"):
        lost.plant(monkeypatch)


def test_a_mutant_leaves_no_trace(monkeypatch):
    from robustly.threats.l2 import L2Ball

    before = L2Ball.steepest.__code__
    with monkeypatch.context() as patch:
        GEOMETRY[0].plant(patch)
        assert L2Ball.steepest.__code__ is not before
    assert L2Ball.steepest.__code__ is before
