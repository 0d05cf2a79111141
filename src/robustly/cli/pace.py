"""How fast an audit goes, and how long it may still take at worst."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from robustly.auditing.estimate import StageCost
from robustly.auditing.progress import Snapshot

WINDOW = 8.0
"""Seconds over which the rate is taken, so that it follows the stage at hand."""


class Pace:
    """Sees the snapshots of a run and answers from them.

    costs: of the plan's stages, in order; some may turn out not to fit the model. sizes: further ones of a sweep.
    limit: seconds after which the run ends, or None.
    """

    def __init__(self, costs: Sequence[StageCost], sizes: int, limit: float | None) -> None:
        self.costs, self.sizes, self.limit = tuple(costs), sizes, limit
        self._seen: deque[tuple[float, int]] = deque()
        self._batch: tuple[object, ...] | None = None
        self._at_batch = 0
        self._left: set[float] = set()

    def see(self, snapshot: Snapshot) -> None:
        """Take a snapshot in."""
        self._left.add(snapshot.eps)
        spent = snapshot.forward + snapshot.backward
        self._seen.append((snapshot.seconds, spent))
        while len(self._seen) > 2 and self._seen[1][0] < snapshot.seconds - WINDOW:
            self._seen.popleft()
        batch = (snapshot.eps, snapshot.stage_number, snapshot.stage, snapshot.done, snapshot.asked)
        if batch != self._batch:
            self._batch, self._at_batch = batch, spent

    def rate(self, snapshot: Snapshot) -> float:
        """Passes a second, lately."""
        (begun, first), (ended, last) = (
            (self._seen or [(0.0, 0)])[0],
            (snapshot.seconds, snapshot.forward + snapshot.backward),
        )
        return max(0.0, (last - first) / (ended - begun)) if ended > begun else 0.0

    def share(self, snapshot: Snapshot) -> float:
        """How much of the stage is done, in [0, 1]: whole batches, and the passes of the one in flight."""
        if not snapshot.asked:
            return 0.0
        due = self._due(snapshot, snapshot.asked)
        within = (snapshot.forward + snapshot.backward - self._at_batch) / due if due else 0.0
        return min(1.0, snapshot.done / snapshot.asked + max(0.0, within))

    def left(self, snapshot: Snapshot) -> float | None:
        """Seconds to the end at worst (nothing more is decided), at the present rate; None where nothing is known."""
        rate, fitting = self.rate(snapshot), self._fitting(snapshot)
        remaining = None if self.limit is None else max(0.0, self.limit - snapshot.seconds)
        if not rate or not fitting or snapshot.stage_number > len(fitting):
            return remaining
        later = sum(cost.passes for cost in fitting[snapshot.stage_number :])
        here = self._due(snapshot, snapshot.asked) * (1 - self.share(snapshot))
        again = max(0, 1 + self.sizes - len(self._left)) * sum(cost.passes for cost in fitting)
        seconds = (here + snapshot.undecided * (later + again)) / rate
        return seconds if remaining is None else min(seconds, remaining)

    def _due(self, snapshot: Snapshot, examples: int) -> int:
        """Passes of so many examples in this stage at most; 0 if that is unknown."""
        if snapshot.stage_number == 0:
            return examples
        fitting = self._fitting(snapshot)
        known = 0 < snapshot.stage_number <= len(fitting)
        return examples * fitting[snapshot.stage_number - 1].passes if known else 0

    def _fitting(self, snapshot: Snapshot) -> tuple[StageCost, ...]:
        """The costs of the stages that run. Which were left out is known only inside the audit: by number and name."""
        attacks = tuple(c for c in self.costs if c.kind == "attack")
        for costs in (self.costs, attacks, *(tuple(c for c in attacks if c.needs <= access) for access in (2, 1))):
            named = (
                0 < snapshot.stage_number <= len(costs) and costs[snapshot.stage_number - 1].spec.name == snapshot.stage
            )
            if len(costs) == snapshot.stages and (named or snapshot.stage_number == 0):
                return costs
        return ()
