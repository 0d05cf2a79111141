"""A verdict in a process of its own: stopped in time, short of memory, or wrong, it harms nothing else."""

import os
import time

import pytest
import torch

from robustly.core.errors import Contradiction, UsageError
from robustly.verifying import apart as module
from robustly.verifying.answers import Answer
from robustly.verifying.apart import apart, free_memory, lacks_memory

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def test_an_answer_comes_back():
    here = os.getpid()
    answer = apart(lambda: Answer("unsat", why=str(os.getpid()), proven_by=("interval",)), 5)
    assert (answer.verdict, answer.proven_by) == ("unsat", ("interval",))
    assert answer.why != str(here)


def test_what_does_not_stop_is_stopped():
    begin = time.monotonic()
    answer = apart(lambda: time.sleep(60) or Answer("unsat"), 0.2)
    assert answer.verdict == "unknown"
    assert "out of time" in answer.why
    assert time.monotonic() - begin < 20


def test_want_of_memory_is_an_unknown(monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 2**28)

    def greedy() -> Answer:
        return Answer("unsat", why=str(torch.ones(2**30).sum()))

    answer = apart(greedy, 20)
    assert answer.verdict == "unknown"
    assert "memory" in answer.why


@pytest.mark.parametrize("error", [UsageError("no such file"), Contradiction("both"), RuntimeError("odd")])
def test_errors_are_raised_here(error):
    def wrong() -> Answer:
        raise error

    with pytest.raises(type(error), match=str(error)):
        apart(wrong, 20)


def test_a_process_that_dies_is_an_unknown():
    assert apart(lambda: os._exit(9), 20).verdict == "unknown"  # type: ignore[arg-type, return-value]


def test_memory_is_known_here():
    free = free_memory()
    assert free is None or free > 2**20
    assert lacks_memory(MemoryError())
    assert lacks_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."))
    assert not lacks_memory(RuntimeError("shapes differ"))
