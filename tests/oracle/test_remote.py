"""The oracle and a model behind a wire: rows without an answer are closed and never evidence, and points are as carried."""

from dataclasses import dataclass, field

import torch

from robustly.core import keys
from robustly.goals import Goal
from robustly.oracle import Access, Model, Oracle, Replies
from robustly.oracle.answers import Limits
from robustly.steps import Case
from robustly.threats import Domain, Linf

UNIT = Domain(0.0, 1.0)
X = torch.full((4, 2), 0.5)
Y = torch.zeros(4, dtype=torch.int64)
IDS = torch.tensor([10, 11, 12, 13])


@dataclass
class Wire:
    """Class 1 where the first number is above the second; answers no owner in `deaf`, and rounds to tenths."""

    deaf: tuple[int, ...] = ()
    retries: int = 0
    asked: list[tuple[int, float]] = field(default_factory=list)
    allowed: list[list[int] | None] = field(default_factory=list)

    def prepare(self, domain, accounts=(), names=()) -> None: ...

    def begin(self, scope: str) -> None: ...

    def ask(self, z, owners, left=None, held=0) -> Replies:
        self.asked += [(int(o), float(p[0])) for o, p in zip(owners, z, strict=True)]
        self.allowed.append(None if left is None else left.tolist())
        gap = z[:, 0] - z[:, 1]
        scores = torch.stack((torch.full_like(gap, 0.01), gap), 1)
        why = {row: ("budget", "spent") for row, o in enumerate(owners.tolist()) if o in self.deaf}
        answered = torch.tensor([row not in why for row in range(len(z))])
        spent = torch.where(answered, 1 + self.retries, 0)
        return Replies(torch.where(answered[:, None], scores, 0.0), answered, spent, why)

    def carried(self, z, around=None):
        near = (z * 10).round() / 10
        return near if around is None else torch.where(around.contains(near)[:, None], near, around.x)

    def named(self, answers):
        return answers.argmax(1)


def oracle(wire: Wire, eps: float = 0.2, access: Access = Access.SCORES, **arguments) -> Oracle:
    model = Model(lambda z: z, UNIT, access, classes=2, remote=wire)
    return Oracle(model, Linf(eps).at(X, UNIT), Goal(Y), ids=IDS, **arguments)


def up(by: float) -> torch.Tensor:
    return X + by * torch.tensor([1.0, -1.0])


def test_rows_without_an_answer_are_closed_and_are_no_evidence():
    wire = Wire(deaf=(11, 13))
    door = oracle(wire)
    scores = door.scores(up(0.1))
    assert door.ledger.hit.tolist() == [True, False, True, False]
    assert door.ledger.shut == {1: ("budget", "spent"), 3: ("budget", "spent")}
    assert not door.open.any()
    assert not door.all_open
    assert scores[1].tolist() == [0.0, 0.0]
    assert door.ledger.best_margin[1] == float("inf")  # nothing is known of it
    assert [owner for owner, _ in wire.asked] == [10, 11, 12, 13]
    door.scores(up(0.1))
    assert len(wire.asked) == 4


def test_a_closed_row_stays_closed_where_the_search_presses_on():
    wire = Wire(deaf=(12,))
    door = oracle(wire, press_on=True)
    door.scores(up(0.1))
    door.scores(up(0.2))
    assert [owner for owner, _ in wire.asked] == [10, 11, 12, 13, 10, 11, 13]


def test_windows_ask_on_the_right_accounts():
    wire = Wire()
    door = oracle(wire).take(torch.tensor([2, 0]))
    door.scores(up(0.0)[:2])
    assert [owner for owner, _ in wire.asked] == [12, 10]


def test_the_point_is_asked_and_kept_as_it_is_carried():
    wire = Wire()
    door = oracle(wire)
    door.scores(up(0.13))
    assert {round(p, 6) for _, p in wire.asked} == {0.6}
    assert torch.allclose(door.ledger.point, up(0.1))
    assert torch.allclose(door.ledger.distance, torch.tensor(0.1, dtype=torch.float64), atol=1e-6)
    dead = oracle(Wire())
    dead.scores(up(0.04))
    assert not dead.ledger.hit.any()
    inside = oracle(Wire(), eps=0.17)  # the nearest that is carried lies outside: the clean input is asked
    inside.scores(up(0.17))
    assert not inside.ledger.hit.any()


def test_proposals_and_hits_leave_out_what_was_not_heard():
    owner = torch.tensor([0, 1, 1, 2])
    points = torch.cat([up(0.1)[:1]] * 4)
    door = oracle(Wire(deaf=(11,)))
    scores, asked = door.propose(points, owner)
    assert asked.tolist() == [True, False, False, True]
    assert scores[1].tolist() == [0.0, 0.0]
    for access in (Access.SCORES, Access.LABELS):
        door = oracle(Wire(deaf=(11,)), access=access)
        met, asked = door.hits(points, owner)
        assert met.tolist() == asked.tolist() == [True, False, False, True]
        assert door.ledger.hit.tolist() == [True, False, True, False]


def test_labels_of_what_was_not_heard_are_none():
    for access in (Access.SCORES, Access.LABELS):
        door = oracle(Wire(deaf=(11,)), access=access)
        said = door.labels(up(0.1))
        assert said[[0, 2, 3]].tolist() == [1, 1, 1]
        assert access == Access.SCORES or said[1] == -1
        assert not door.ledger.hit[1]


def test_retries_are_charged_and_what_is_left_is_told():
    wire = Wire(retries=2)
    door = oracle(wire, limits=Limits(7), press_on=True)
    door.scores(up(0.0))
    assert door.ledger.forward.tolist() == [3] * 4
    door.scores(up(0.0))
    door.scores(up(0.0))
    assert door.ledger.forward.tolist() == [9] * 4
    assert wire.allowed == [[7] * 4, [4] * 4, [1] * 4]
    door.scores(up(0.0))
    assert len(wire.allowed) == 3


def test_attacks_end_where_nobody_answers():
    from robustly.attacks.noise import noise
    from robustly.attacks.square import square

    for attack in (square(queries=50), noise()):
        wire = Wire(deaf=tuple(IDS.tolist()))
        door = oracle(wire)
        attack(Case(door.around, door.goal, keys.from_ids(0, ["a", "b", "c", "d"]), door))
        assert len(wire.asked) == 4
        assert not door.ledger.hit.any()
