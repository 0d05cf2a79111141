"""Wrong answers and refusals: what is tried again, what is told at once, and what ends the campaign."""

import gzip
import re

import numpy as np
import pytest
import torch
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Reply, Target, linear

from robustly.core.errors import UsageError
from robustly.oracle.remote import STOPPED, UNANSWERED

PASSING = {
    "busy": Reply(429),
    "busy with a wait": Reply(429, headers={"retry-after": "0.01"}),
    "500": Reply(500),
    "502": Reply(502, b"<html>bad gateway"),
    "503": Reply(503, headers={"retry-after": "0"}),
    "504": Reply(504),
    "408": Reply(408),
    "425": Reply(425),
    "html": Reply(200, b"<html>"),
    "half a body": Reply(200, b'{"scores": [[1,2,3,4]]}', cut=60),
    "nothing": Reply(200, cut=0),
    "reset": Reply(200, reset=True),
    "no compression": Reply(200, b"not gzip", {"content-encoding": "gzip"}),
    "an encoding nobody asked for": Reply(200, b"?", {"content-encoding": "br"}),
    "a byte now and then": Reply(200, b'{"scores": [[1,2,3,4]]}', trickle=0.1),
    "too slow": Reply(200, hang=2.0),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_tried_again_and_paid_again(asking, fault):
    with Target(lambda n, x: fault if n == 2 else None) as target:
        one = asking(target.url, limits={"timeout": 1.5})
        one.ask(some(1), owners(1))
        replies = one.ask(some(1, 1), owners(1))
        assert replies.answered.all()
        assert replies.spent.tolist() == [2]
        assert (target.inputs, one.bill.retries) == (3, 1)


def test_what_a_server_sends_beyond_its_length_is_nobodys_answer(asking):
    """The rest of it lies on the connection when the next request goes out, and is no answer to that one."""
    short = Reply(200, b'{"scores": [[1,2,3,4]]}', {"content-length": "9"})
    with Target(lambda n, x: short if n == 2 else None) as target:
        one = asking(target.url, limits={"concurrency": 1})
        one.ask(some(1), owners(1))
        x = some(5, 1)
        replies = one.ask(x, owners(5))
        assert np.allclose(replies.answers.numpy(), linear(x.numpy()), atol=1e-6)
        assert int(replies.spent.sum()) + 1 == one.bill.sent == target.inputs


def test_what_does_not_pass_is_an_error_of_the_example_alone(asking):
    bad = some(1, 7).numpy()
    with Target(lambda n, x: Reply(500, b"boom") if np.allclose(x, bad) else None) as target:
        one = asking(target.url, limits={"retries": 2})
        one.ask(some(1), owners(1))
        replies = one.ask(torch.cat([some(3), torch.from_numpy(bad)]), owners(4))
        assert replies.answered.tolist() == [True, True, True, False]
        assert replies.why[3] == (UNANSWERED, "the endpoint answered 500 X: boom")
        assert replies.spent.tolist() == [1, 1, 1, 3]
        assert not one.ended
        assert target.requests == 1 + 3 + 3


FINAL = {
    "400 bad": (Reply(400, b'{"error": "wants 28x28"}'), 'answered 400 X: {"error": "wants 28x28"}'),
    "422": (Reply(422, b"28 rows wanted"), "answered 422 X: 28 rows wanted"),
    "403": (Reply(403), r"answered 403 X \(is the secret right\?\)"),
    "401": (Reply(401), r"answered 401 X \(is the secret right\?\)"),
    "404": (Reply(404), r"answered 404 X \(is the url right\?\)"),
    "redirect": (
        Reply(302, headers={"location": "http://169.254.169.254/latest/meta-data"}),
        "a redirect to http://169.254.169.254/latest/meta-data, which is not followed",
    ),
    "large": (Reply(200, b"1" * 5000), "larger than 4096 bytes"),
    "bomb": (
        Reply(200, gzip.compress(b"[" + b"1," * 2_000_000), {"content-encoding": "gzip"}),
        "larger than 4096 bytes",
    ),
    "no path": (Reply(200, {"probabilities": [[1, 2]]}), 'nothing stands at "scores"'),
    "nan": (Reply(200, b'{"scores": [[NaN, 1, 2, 3]]}'), "answered nan as a score"),
}


@pytest.mark.parametrize(("fault", "told"), FINAL.values(), ids=FINAL.keys())
def test_what_is_wrong_at_first_contact_is_paid_once(asking, fault, told):
    with Target(lambda n, x: fault) as target:
        one = asking(target.url, limits={"largest": 4096})
        with pytest.raises(UsageError, match=told):
            one.ask(some(30), owners(30))
        assert target.requests == 1


@pytest.mark.parametrize(("fault", "told"), list(FINAL.values())[:8], ids=list(FINAL)[:8])
def test_what_becomes_wrong_later_ends_the_campaign_and_keeps_what_there_is(asking, fault, told):
    with Target(lambda n, x: fault if n >= 6 else None) as target:
        one = asking(target.url, limits={"largest": 4096, "concurrency": 2})
        replies = one.ask(some(30), owners(30))
        assert 4 <= int(replies.answered.sum()) <= 6
        assert target.requests <= 8
        assert {why[0] for why in replies.why.values()} == {STOPPED}
        assert not one.ask(some(1, 9), owners(1)).answered.any()
        assert target.requests <= 8
        assert re.search(told, one.ended)


ODD = {
    "texts": ({"scores": [["0.1", "0.2", "0.3", "0.4"]]}, 'answers with texts for scores, such as "0.1"'),
    "fewer classes": ({"scores": [[1, 2, 3]]}, "answered 3 scores, where 4 are wanted"),
    "an error": ({"error": "out of memory"}, 'nothing stands at "scores" in the answer; its keys are error'),
    "labels": ({"labels": [1]}, "nothing stands at"),
    "two rows": ({"scores": [[1, 2, 3, 4]] * 2}, '"scores" in the answer gives 2 rows for 1 input'),
}


@pytest.mark.parametrize(("body", "told"), ODD.values(), ids=ODD.keys())
def test_an_odd_answer_to_one_input_is_an_error_of_it_alone(asking, body, told):
    bad = some(1, 7).numpy()
    with Target(lambda n, x: Reply(200, body) if np.allclose(x, bad) else None) as target:
        one = asking(target.url)
        one.ask(some(2), owners(2))
        replies = one.ask(torch.cat([some(3), torch.from_numpy(bad), some(3, 1)]), owners(7))
        assert replies.answered.tolist() == [True] * 3 + [False] + [True] * 3
        assert replies.why[3][0] == UNANSWERED
        assert told in replies.why[3][1]
        assert not one.ended


def test_nan_on_some_input_is_an_error_of_it_alone_and_kept(asking):
    bad = some(1, 7).numpy()
    with Target(lambda n, x: Reply(200, b'{"scores": [[NaN, 1, 2, 3]]}') if np.allclose(x, bad) else None) as target:
        one = asking(target.url)
        one.settle(some(4), owners(4))
        replies = one.ask(torch.cat([some(2), torch.from_numpy(bad)]), owners(3))
        assert replies.why == {2: (UNANSWERED, "the endpoint answered nan as a score, which is no finite number")}
        assert torch.isfinite(replies.answers).all()
        sent = target.inputs
        assert not one.ask(torch.from_numpy(bad), owners(1)).answered.any()
        assert target.inputs == sent


def test_too_many_failures_in_a_row_end_the_campaign(asking):
    with Target(lambda n, x: Reply(500) if n > 5 else None) as target:
        one = asking(target.url, limits={"failures": 7, "retries": 100, "concurrency": 2})
        one.ask(some(5), owners(5))
        replies = one.ask(some(50, 1), owners(50))
        assert "7 tries failed in a row, the last one: the endpoint answered 500" in one.ended
        assert not replies.answered.any()
        assert target.requests <= 5 + 7 + 2


@pytest.mark.parametrize("body", [{"error": "overloaded"}, b"<html>Are you a robot?"], ids=["error", "captcha"])
def test_answers_that_make_no_sense_end_it_too(asking, body):
    with Target(lambda n, x: Reply(200, body) if n > 5 else None) as target:
        one = asking(target.url, limits={"failures": 7, "concurrency": 1})
        one.ask(some(5), owners(5))
        one.ask(some(50, 1), owners(50))
        assert "in a row" in one.ended
        assert target.requests == 5 + 7


def test_a_server_that_only_ever_says_wait_ends_the_campaign(asking):
    """A quota that is used up: a few questions are tried to the end, and not each of thousands."""
    with Target(lambda n, x: Reply(429, b"quota used up") if n > 10 else None) as target:
        made = asking(target.url, limits={"retries": 2, "failures": 5, "concurrency": 2})
        replies = made.ask(some(300), owners(300))
        assert "429" in made.ended
        assert "quota used up" in made.ended
        assert int(replies.answered.sum()) == 10
        assert target.inputs <= 10 + 3 * (5 + 2)
