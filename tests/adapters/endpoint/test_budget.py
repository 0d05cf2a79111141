"""Whatever happens, no more is seen at the server than was allowed, and nothing that was answered is asked again."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.adapters.endpoint.server import SIZE, Reply, Target, linear

from robustly.adapters.endpoint.asking import Asking
from robustly.adapters.endpoint.settings import Settings

FAULTS = {
    "none": lambda: None,
    "busy": lambda: Reply(429),
    "500": lambda: Reply(500),
    "slow": lambda: Reply(200, b"", hang=0.3),
    "cut": lambda: Reply(200, b'{"scores":', cut=50),
    "html": lambda: Reply(200, b"<html>"),
}
EXAMPLES = 4


class Interrupt(BaseException):
    """A signal."""


class Budgets(RuleBasedStateMachine):
    """Questions of several examples, faults of the server, interruptions and restarts, in any order."""

    @initialize(budget=st.integers(5, 60), each=st.integers(3, 20), width=st.integers(1, 6), batch=st.integers(1, 3))
    def start(self, budget: int, each: int, width: int, batch: int) -> None:
        self.budget, self.each = budget, each
        self.kind, self.number = "none", 0
        self.seen = np.zeros(EXAMPLES, dtype=int)
        self.answers: dict[bytes, np.ndarray] = {}
        self.target = Target(self.fault)
        self.folder = tempfile.TemporaryDirectory()
        limits = {"budget": budget, "queries": each, "concurrency": width, "batch": batch, "timeout": 0.15, "wait": 0.0}
        table = {"url": self.target.url, "limits": {**limits, "retries": 3, "failures": 500}, "check": {"inputs": 0}}
        self.settings = Settings.model_validate(table)
        self.asking = self.opened()

    def opened(self) -> Asking:
        made = Asking(self.settings, Path(self.folder.name) / "answers.sqlite")
        made.random = False
        return made

    def fault(self, number: int, inputs: np.ndarray) -> Reply | None:
        with self.target.lock:
            for x in inputs:
                self.seen[int(x.flat[0])] += 1  # the first number of an input says whose it is
        return FAULTS[self.kind]() if number % 2 else None

    @rule(owners=st.lists(st.integers(0, EXAMPLES - 1), min_size=1, max_size=12), again=st.integers(0, 3))
    def ask(self, owners: list[int], again: int) -> None:
        x = torch.rand(len(owners), SIZE, generator=torch.Generator().manual_seed(self.number // (1 + again)))
        x[:, 0] = torch.tensor(owners, dtype=torch.float32)
        self.number += 1
        try:
            replies = self.asking.ask(x, torch.tensor(owners))
        except Exception as error:
            if "Nothing was answered yet" in str(error):
                return
            raise
        right = linear(x.numpy()).astype(np.float32)
        heard = replies.answered.numpy()
        assert not heard.any() or np.allclose(replies.answers.numpy()[heard], right[heard])
        assert set(replies.why) == set(np.flatnonzero(~heard).tolist())
        before = self.target.inputs
        known = self.asking.ask(x[replies.answered], torch.tensor(owners)[replies.answered])
        assert known.answered.all()
        assert self.target.inputs == before  # what was answered is never asked again

    @rule(kind=st.sampled_from(sorted(FAULTS)))
    def change_the_weather(self, kind: str) -> None:
        self.kind = kind

    @rule()
    def restart(self) -> None:
        self.asking.close()
        self.asking = self.opened()

    @rule(after=st.integers(1, 4))
    def interrupt(self, after: int) -> None:
        begun = self.target.requests

        def stop() -> None:
            if self.target.requests >= begun + after:
                raise Interrupt

        self.asking.watch = stop
        try:
            self.ask([0, 1, 2, 3] * 2, 0)
        except Interrupt:
            pass
        finally:
            self.asking.watch = None

    @invariant()
    def no_more_was_seen_than_allowed(self) -> None:
        if not hasattr(self, "target"):
            return
        assert self.target.inputs <= self.budget
        assert (self.seen <= self.each).all()
        assert self.target.inputs <= self.asking.bill.sent <= self.budget

    def teardown(self) -> None:
        if hasattr(self, "target"):
            self.asking.close()
            self.target.__exit__()
            self.folder.cleanup()


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(
    max_examples=6, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_fifth_of_all_tries_fails_and_nothing_is_lost_or_doubled(asking):
    """0 lost: every question is answered; 0 doubled: one answer each; and the bill is what the server saw."""
    kinds = [Reply(500), Reply(429), Reply(200, b"<html>"), Reply(200, b'{"scores"', cut=70), Reply(200, cut=0)]
    draw = np.random.default_rng(0)

    def fault(number: int, inputs: np.ndarray) -> Reply | None:
        if number == 1 or draw.random() >= 0.2:
            return None
        return kinds[number % len(kinds)]

    with Target(fault) as target:
        one = asking(target.url, limits={"concurrency": 16, "retries": 12, "wait": 0.005}, check={"inputs": 0})
        one.random = False
        x = torch.rand(300, SIZE, generator=torch.Generator().manual_seed(3))
        replies = one.ask(x, torch.arange(300))
        assert replies.answered.all()
        assert np.allclose(replies.answers.numpy(), linear(x.numpy()), atol=1e-6)
        assert set(target.answered.values()) == {1}
        assert len(target.answered) == 300
        assert one.bill.sent == target.inputs == int(replies.spent.sum())
        assert one.bill.retries == target.inputs - 300 > 40
