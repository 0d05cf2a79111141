"""A target that changes is noticed, within a process and between two."""

from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Target, linear

from robustly.oracle.remote import STOPPED


def test_a_target_that_changes_is_noticed_and_stops_the_campaign(asking):
    seed = [0]
    with Target(model=lambda x: linear(x, seed[0])) as target:
        one = asking(target.url, check={"inputs": 3, "times": 1, "every": 10})
        one.settle(some(3), owners(3))
        one.ask(some(12, 1), owners(12))
        assert not one.changed
        seed[0] = 1
        one.ask(some(12, 2), owners(12))
        replies = one.ask(some(12, 3), owners(12))
        assert "the target changed: after" in one.changed
        assert not replies.answered.any()
        assert replies.why[0][0] == STOPPED
        going = asking(target.url, check={"inputs": 3, "times": 1, "every": 10, "on_change": "go on"})
        going.settle(some(3), owners(3))
        seed[0] = 2
        going.ask(some(12, 2), owners(12))
        assert going.ask(some(12, 3), owners(12)).answered.all()
        assert going.changed


def test_a_target_that_changed_between_two_processes_is_noticed_before_it_is_asked(asking, tmp_path):
    seed = [0]
    with Target(model=lambda x: linear(x, seed[0])) as target:
        keep = tmp_path / "a.sqlite"
        one = asking(target.url, keep)
        one.settle(some(4), owners(4))
        one.close()
        seed[0] = 1
        again = asking(target.url, keep)
        again.settle(some(4), owners(4))
        sent = target.inputs
        assert not again.ask(some(5, 1), owners(5)).answered.any()
        assert "changed" in again.ended
        assert target.inputs == sent + 4
