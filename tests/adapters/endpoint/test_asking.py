"""What comes back of questions to a real server, and how often they are asked."""

import threading
import time

import numpy as np
import torch
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import CLASSES, SIZE, Target, linear


def test_answers_are_those_of_the_server_in_order(asking):
    with Target() as target:
        one = asking(target.url, limits={"concurrency": 5, "batch": 3})
        x = some(20)
        replies = one.ask(x, owners(20))
        assert torch.allclose(replies.answers, torch.from_numpy(linear(x.numpy())).float())
        assert replies.answered.all()
        assert replies.spent.tolist() == [1] * 20
        assert (target.requests, target.inputs) == (7, 20)


def test_equal_bytes_are_asked_once_of_a_target_that_is_not_random(asking):
    with Target() as target:
        one = asking(target.url, check={"inputs": 2, "times": 1})
        x = some(4)
        one.settle(x, owners(4))
        assert one.random is False
        before = target.inputs
        one.ask(torch.cat([x, x]), torch.arange(8))
        assert target.inputs == before + 2  # the two that `settle` had not asked
        assert one.bill.cached == 2 * 2


def test_a_random_target_is_asked_anew_and_a_killed_one_gets_the_same_draws(asking, tmp_path):
    noise = np.random.default_rng(0)
    with Target(model=lambda x: linear(x) + noise.normal(size=(len(x), CLASSES))) as target:
        keep = tmp_path / "answers.sqlite"
        one = asking(target.url, keep)
        one.settle(some(4), owners(4))
        assert one.random is True
        one.begin("unit")
        first = one.ask(some(2, 1), owners(2))
        second = one.ask(some(2, 1), owners(2))
        assert not torch.equal(first.answers, second.answers)
        one.begin("next")
        third = one.ask(some(2, 1), owners(2))
        assert not torch.equal(first.answers, third.answers)
        one.close()
        sent = target.inputs
        again = asking(target.url, keep)
        again.settle(some(4), owners(4))
        again.begin("unit")
        assert torch.equal(again.ask(some(2, 1), owners(2)).answers, first.answers)
        assert torch.equal(again.ask(some(2, 1), owners(2)).answers, second.answers)
        assert target.inputs == sent


def test_it_works_where_a_loop_is_running(asking):
    import asyncio

    async def main(one):
        return one.ask(some(2), owners(2))

    with Target() as target:
        assert asyncio.run(main(asking(target.url))).answered.all()


def test_threads_end_with_it(asking):
    with Target() as target:
        one = asking(target.url)
        one.ask(some(2), owners(2))
        one.close()
        time.sleep(0.05)
        assert not [t for t in threading.enumerate() if t.name.startswith("robustly")]
        assert SIZE == 16
